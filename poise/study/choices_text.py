"""What a study of text may combine, by network, and where a search begins."""

from __future__ import annotations

from poise.average import Ema
from poise.batch import LabelSmoothing
from poise.core.regularizer import Regularizer
from poise.gradient import ClipNorm
from poise.network import (
    AttentionDropout,
    Dropout,
    DropPath,
    EmbeddingDropout,
    LockedDropout,
    RecurrentDropConnect,
    TemporalPenalty,
)
from poise.stop import Patience
from poise.study.choices import Choices, Rival
from poise.update import Decay

__all__ = ["RECURRENT", "TRANSFORMER"]


def _named(*parts: Regularizer) -> dict[str, Regularizer]:
    return {part.name: part for part in parts}


_SHARED = {
    "embedding_dropout.p": (0.01, 0.3),
    "label_smoothing.amount": (0.01, 0.2),
    "clip_norm.limit": (0.1, 5.0),
    "decay.rate": (1e-3, 2.0),
    "ema.decay": (0.9, 0.998),
}
_FIXED = frozenset({"patience.evaluations", "patience.minimum_change"})

_AWD = ("embedding_dropout", "locked_dropout", "recurrent_drop_connect", "temporal_penalty", "clip_norm", "decay")
_PUBLISHED = {
    "embedding_dropout.p": 0.1,
    "locked_dropout.p": 0.4,
    "locked_dropout.input_p": 0.4,
    "recurrent_drop_connect.p": 0.5,
    "temporal_penalty.size": 2.0,
    "temporal_penalty.change": 1.0,
    "clip_norm.limit": 0.25,
    "decay.rate": 0.01,
}  # of Merity, Keskar, Socher 2018 for the Penn Treebank's words; the decay is for Adam, whose paper's is for SGD

RECURRENT = Choices(
    parts=_named(
        EmbeddingDropout(0.05),
        LockedDropout(0.3, input_p=0.1),
        RecurrentDropConnect(0.2),
        TemporalPenalty(size=0.5, change=0.25),
        LabelSmoothing(0.05),
        ClipNorm(0.5),
        Decay(0.05),
        Ema(0.98),
        Patience(12),
    ),
    ranges={
        "locked_dropout.p": (0.02, 0.7),
        "locked_dropout.input_p": (0.02, 0.5),
        "recurrent_drop_connect.p": (0.02, 0.6),
        "temporal_penalty.size": (1e-2, 5.0),
        "temporal_penalty.change": (1e-2, 5.0),
        **_SHARED,
    },
    fixed=_FIXED,
    log=frozenset({"decay.rate", "clip_norm.limit", "temporal_penalty.size", "temporal_penalty.change"}),
    rare=(),
    lr=(1e-3, 3e-2),
    starts=(
        ((*_AWD, "ema"), {}, 1e-2),
        (("locked_dropout", "clip_norm", "decay", "ema"), {}, 1e-2),
        (("locked_dropout", "recurrent_drop_connect", "clip_norm"), {"locked_dropout.p": 0.5}, 1e-2),
        (("clip_norm", "decay", "ema"), {"decay.rate": 0.5}, 5e-3),
        ((), {}, 3e-3),
    ),
    rival=Rival("AWD-LSTM's parts, untuned", tuple((_AWD, _PUBLISHED, lr) for lr in (1e-3, 3e-3, 1e-2))),
)
"""What a study of text by LSTM or GRU may combine: the parts of AWD-LSTM (Merity, Keskar, Socher 2018), which the first
start takes at less than half of their strength there, as small layers and characters want."""

_DROPPED = ("dropout", "dropout_branches", "dropout_embeddings")

TRANSFORMER = Choices(
    parts=_named(
        EmbeddingDropout(0.05),
        Dropout(0.1),
        Dropout(0.1, where="residual branches", name="dropout_branches"),
        Dropout(0.1, where="embeddings", name="dropout_embeddings"),
        AttentionDropout(0.1),
        DropPath(0.1),
        LabelSmoothing(0.05),
        ClipNorm(1.0),
        Decay(0.1),
        Ema(0.98),
        Patience(12),
    ),
    ranges={
        **{f"{name}.p": (0.02, 0.5) for name in (*_DROPPED, "attention_dropout")},
        "drop_path.p": (0.02, 0.4),
        **_SHARED,
    },
    fixed=_FIXED,
    log=frozenset({"decay.rate", "clip_norm.limit"}),
    rare=("embedding_dropout", "attention_dropout", "drop_path", "label_smoothing"),
    lr=(5e-4, 1e-2),
    starts=(
        ((*_DROPPED, "attention_dropout", "clip_norm", "decay", "ema"), {}, 3e-3),
        ((*_DROPPED, "clip_norm", "decay"), {f"{name}.p": 0.2 for name in _DROPPED}, 3e-3),
        (("dropout_branches", "drop_path", "clip_norm", "decay"), {}, 2e-3),
        (("clip_norm", "decay"), {"decay.rate": 0.5}, 2e-3),
        ((), {}, 1e-3),
    ),
    rival=Rival("dropout in three places", tuple((_DROPPED, {}, lr) for lr in (1e-3, 3e-3, 1e-2))),
)
"""What a study of text by a transformer may combine: dropout in four places, as Vaswani et al. 2017 and the code after
it have it, stochastic depth, smoothing, clipping and decay."""
