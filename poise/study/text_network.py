"""The networks of a study of text: what reads a window of characters and predicts each from those before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.data.characters import CharacterEncoder, check_window
from poise.models import RecurrentNet, SmallTransformer
from poise.models.sizes import check_choice, check_sizes
from poise.study.choices import Choices
from poise.study.choices_text import RECURRENT, TRANSFORMER
from poise.study.design import NetworkDesign

__all__ = ["TEXT_NETWORKS", "TextDesign", "TextNetwork"]

TEXT_NETWORKS = ("lstm", "gru", "transformer")
"""The structures that a study of text knows."""


@dataclass(frozen=True)
class TextDesign(NetworkDesign):
    """The structure of a text study's network; the same for all members.

    `network`: "lstm" or "gru" (`depth` recurrent layers) or "transformer" (`depth` causal blocks, which cost four
    times as much a step). `width`: units of the embedding and of each layer. `window`: characters that are read at
    once; the first of them is predicted from nothing. `tied`: the output layer's matrix is the embedding's.
    """

    network: str = "lstm"
    width: int = 96
    depth: int = 1
    window: int = 64
    tied: bool = True

    def __post_init__(self) -> None:
        check_choice("TextDesign", "network", self.network, TEXT_NETWORKS)
        check_sizes("TextDesign", width=self.width, depth=self.depth)
        check_window("TextDesign", self.window)
        if self.network == "transformer" and self.width % _HEADS:
            raise ArgumentError(
                f"`TextDesign.width` must be a multiple of {_HEADS} for a transformer, one share a head; "
                f"got {self.width}."
            )

    @property
    def choices(self) -> Choices:
        """The parts that fit the network."""
        return TRANSFORMER if self.network == "transformer" else RECURRENT

    def build(self, plan: Any, outputs: int, edges: Tensor | None) -> nn.Module:
        """Return a new network; `plan` is the encoder."""
        return TextNetwork(plan, self)


_HEADS = 4


class TextNetwork(nn.Module):
    """Reads a start and T characters, and answers with a logit for each code at each of the T places.

    The last character is not read, and the answer at a place knows the characters before it only.

    Shapes: (B, T + 1) int64, a start first -> (B, T, K).
    """

    def __init__(self, encoder: CharacterEncoder, design: TextDesign) -> None:
        super().__init__()
        size = encoder.size
        if design.network == "transformer":
            self.network: nn.Module = SmallTransformer(
                size, size, length=encoder.window, width=design.width, heads=_HEADS, depth=design.depth,
                tied=design.tied,
            )  # fmt: skip
        else:
            self.network = RecurrentNet(
                size, size, width=design.width, depth=design.depth, kind=design.network, tied=design.tied
            )

    def forward(self, codes: Tensor) -> Tensor:
        return self.network(codes[..., :-1])  # type: ignore[no-any-return]  # nn.Module's call is untyped
