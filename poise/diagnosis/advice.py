"""Which families of regularizers to try first, from the gap's form and the kind of network; each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from poise.diagnosis.gap import Measure

__all__ = ["Advice", "advice", "kind_of"]


@dataclass(frozen=True)
class Advice:
    """A family, the parts of poise in it, and why it is worth trying."""

    family: str
    parts: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return f"{self.family} ({', '.join(self.parts)}): {self.reason}"


# Ordered by what textbooks and comparisons put first for a kind of network; `advice` moves what the gap speaks for.
_AUGMENT = Advice("augmentation", ("Flip", "Crop", "Cutout", "Mixup"), "new pictures cost nothing and help most here")
_MIX = Advice("mixing", ("Mixup", "CutMix"), "it makes rows between the rows, and calms probabilities")
_DROP = Advice("dropout", ("Dropout",), "the classic for dense layers; 0.1 to 0.5")
_PATH = Advice("stochastic depth", ("DropPath",), "for residual branches, in place of dropout")
_LOCKED = Advice(
    "recurrent dropout", ("LockedDropout", "RecurrentDropConnect", "EmbeddingDropout"), "one mask a sequence"
)
_ATTENTION = Advice("attention and path dropout", ("Dropout", "AttentionDropout", "DropPath"), "0.1 is the usual start")
_DECAY = Advice("weight decay", ("Decay",), "decoupled, on weights and not on biases and norms")
_SMOOTH = Advice("label smoothing", ("LabelSmoothing",), "probabilities are too sure; a temperature after training too")
_AVERAGE = Advice("averaged weights", ("Ema", "Swa"), "nearly free, with a rate that does not fall to 0")
_STOP = Advice("early stopping", ("Patience",), "with the best weights restored; it bounds all the rest")
_ENSEMBLE = Advice("an ensemble", ("bagged", "Ensemble"), "what is left of the variance, for k times the cost")
_SAM = Advice("sharpness-aware steps", ("Sam",), "strong where the training loss reaches 0, at twice the cost")
_MORE = Advice("more capacity or steps", ("width", "steps", "learning rate"), "training rows are not fitted yet")
_LESS = Advice("weaker regularizers", ("recipe.neutral(...)",), "leave parts out one by one and compare")

_FIRST = {
    "convolutional": (_AUGMENT, _DECAY, _MIX, _PATH, _SAM),
    "recurrent": (_LOCKED, _DECAY, _AVERAGE),
    "attention": (_ATTENTION, _DECAY, _MIX, _AVERAGE),
    "dense": (_DROP, _DECAY, _MIX),
}


def kind_of(model: Callable[[Any], Any]) -> str:
    """Return which kind of network it is, by the types of its layers: attention, recurrent, convolutional or dense."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    for kind, types in (
        ("attention", (nn.MultiheadAttention, nn.TransformerEncoderLayer)),
        ("recurrent", (nn.RNNBase, nn.RNNCellBase)),
        ("convolutional", (nn.modules.conv._ConvNd,)),
    ):
        if any(isinstance(module, types) for module in modules):
            return kind
    # Attention of the user's own has no type to know it by; in others' code it is named so.
    return "attention" if any("attention" in type(m).__name__.lower() for m in modules) else "dense"


def advice(verdict: str, found: Sequence[Measure], model: Callable[[Any], Any], rows: int) -> tuple[Advice, ...]:
    """Return the families in the order in which to try them."""
    if verdict == "underfits":
        return (_MORE, _LESS)
    if verdict == "no gap":
        return (_MORE,)
    first = list(_FIRST[kind_of(model)])
    named = {one.name: one for one in found}
    if "cross-entropy" in named:
        # The loss is worse by far more than the error says: not more mistakes, but mistakes made with confidence.
        unsure = named["calibration error"].gap.low > 0 and named["calibration error"].validation.value > 0.05
        if unsure:
            first.insert(1, _SMOOTH)
    if rows < 2_000:
        first.append(_ENSEMBLE)
    return (_STOP, *first, *(one for one in (_AVERAGE,) if one not in first))
