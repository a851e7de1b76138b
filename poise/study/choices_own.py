"""What a study may combine with a network of your own: by its inputs, and by the layers that it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from torch import nn

from poise.core.kinds import Insertion
from poise.core.regularizer import Regularizer
from poise.network import AttentionDropout, EmbeddingDropout, LockedDropout, RecurrentDropConnect
from poise.study.choices import IMAGE, TABLE, Choices, Rival, Start

__all__ = ["INPUTS", "own_choices", "without_place"]

_OTHER = TABLE.without("front_scale", "input_noise", "swap_noise", "mixup", "cut_mix")

INPUTS: Mapping[str, Choices] = {
    "images": IMAGE,
    "grey images": IMAGE.without("color_jitter"),
    "vectors": TABLE.without("swap_noise", "cut_mix"),
    "other": _OTHER,
}
"""The parts by the kind of inputs: of "other" ones nobody knows what an edit would do to them, so none edits them.

Those of vectors leave out what a table's columns, each with a law of its own, are needed for."""

_BY_LAYER: tuple[tuple[Regularizer, Mapping[str, tuple[float, float]], frozenset[str]], ...] = (
    (LockedDropout(0.2), {"locked_dropout.p": (0.02, 0.6)}, frozenset({"locked_dropout.input_p"})),
    (RecurrentDropConnect(0.2), {"recurrent_drop_connect.p": (0.02, 0.6)}, frozenset()),
    (EmbeddingDropout(0.1), {"embedding_dropout.p": (0.02, 0.4)}, frozenset()),
    (AttentionDropout(0.1), {"attention_dropout.p": (0.02, 0.4)}, frozenset()),
)
"""Parts for layers that few networks have, with their ranges and their dials that stay."""

_NORMS = (
    nn.modules.batchnorm._NormBase,  # batch and instance norms
    *(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
)


def own_choices(inputs: str, network: nn.Module) -> Choices:
    """Return the parts for a kind of `INPUTS` that have a place in the network.

    `batch_norm` is left out where the network has norms of its own; parts for recurrent layers, embeddings and
    attention come in where it has these.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> [name for name in own_choices("other", model).parts][:4]
    ['batch_norm', 'dropout', 'hidden_noise', 'label_smoothing']
    """
    choices = INPUTS[inputs]
    for part, ranges, fixed in _BY_LAYER:
        if isinstance(part, Insertion) and part.find(network):
            choices = _with(choices, part, ranges, fixed)
    gone = without_place(choices, network)
    if any(isinstance(layer, _NORMS) for layer in network.modules()):
        gone = (*gone, "batch_norm")
    choices = choices.without(*gone)
    if not any(on for on, _, _ in choices.rival.starts):
        rates, decays = (1e-3, 3e-3, 1e-2), (0.01, 0.1, 1.0)
        tuned: tuple[Start, ...] = tuple((("decay",), {"decay.rate": d}, lr) for d in decays for lr in rates)
        choices = dataclasses.replace(choices, rival=Rival("tuned weight decay", tuned))
    return choices


def without_place(choices: Choices, network: nn.Module) -> tuple[str, ...]:
    """Return the names of the parts whose layers find no place in the network."""
    return tuple(name for name, part in choices.parts.items() if isinstance(part, Insertion) and not part.find(network))


def _with(
    choices: Choices, part: Regularizer, ranges: Mapping[str, tuple[float, float]], fixed: frozenset[str]
) -> Choices:
    """Return the choices with one more part, which is on in the starts that have dropout."""
    return dataclasses.replace(
        choices,
        parts={part.name: part, **choices.parts},
        ranges={**ranges, **choices.ranges},
        fixed=choices.fixed | fixed,
        starts=tuple(((*on, part.name) if "dropout" in on else on, dials, lr) for on, dials, lr in choices.starts),
    )
