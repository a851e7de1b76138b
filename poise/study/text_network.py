"""The networks of a study of text: what reads a window of characters and predicts each from those before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.data.characters import START, CharacterEncoder, check_window
from poise.models import RecurrentNet, SmallTransformer
from poise.models.sizes import check_choice, check_sizes
from poise.study.choices import Choices
from poise.study.choices_text import RECURRENT, TRANSFORMER
from poise.study.design import NetworkDesign
from poise.train.looped import mark_looped

__all__ = ["TEXT_NETWORKS", "TextDesign", "TextNetwork"]

TEXT_NETWORKS = ("lstm", "gru", "transformer")
"""The structures that a study of text knows."""

_HEADS = 4


@dataclass(frozen=True)
class TextDesign(NetworkDesign):
    """The structure of a text study's network; the same for all members.

    `network`: "lstm" or "gru" (`depth` recurrent layers) or "transformer" (`depth` causal blocks; a step costs four
    times as much). `width`: units of the embedding and of each layer. `window`: characters that are read at once; the
    first of them is predicted from nothing. `tied`: the output layer's matrix is the embedding's.
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
                f"`TextDesign.width` must be a multiple of {_HEADS} for a transformer, a share for each head; got "
                f"{self.width}."
            )

    @property
    def choices(self) -> Choices:
        """The parts that fit the network."""
        return TRANSFORMER if self.network == "transformer" else RECURRENT

    def effort(self, rows: int) -> tuple[int, int]:
        """Return 16 windows a step, and forty epochs, thirty or fewer of a long text.

        A window is many examples: steps of 32 and of 64 windows were measured to learn alike, at twice the time.
        """
        return 16, 40 if rows < 1_000 else 30 if rows < 4_000 else 16

    def build(self, plan: CharacterEncoder, outputs: int, edges: Tensor | None) -> nn.Module:
        """Return a new `TextNetwork`; its outputs are the plan's codes."""
        return TextNetwork(plan, self)


class TextNetwork(nn.Module):
    """Reads a start and T characters, and predicts each of the T from those before it; the last one is not read.

    In training, and where `logits` is True, it answers with a logit for each of K codes at each place. Else it answers
    with the log-probability of the character that stands there, which is all that scores and ensembles need and K
    times less to keep; NaN where no character stands, because the window is longer than the text.

    Members of a population run one after another: torch's recurrent layers fill a processor as they are, and attention
    mapped by torch.vmap was measured no faster, at the memory of all members (benchmarks/text_members.py).

    Shapes: (B, T + 1) int64, a start first -> (B, T, K), or (B, T, 1).
    """

    def __init__(self, encoder: CharacterEncoder, design: TextDesign) -> None:
        super().__init__()
        self.logits = False
        size, width, depth, tied = encoder.size, design.width, design.depth, design.tied
        self.network: nn.Module
        if design.network == "transformer":
            length = encoder.window
            self.network = SmallTransformer(
                size, size, length=length, width=width, heads=_HEADS, depth=depth, tied=tied
            )
        else:
            self.network = RecurrentNet(size, size, width=width, depth=depth, kind=design.network, tied=tied)
        mark_looped(self)

    def forward(self, codes: Tensor) -> Tensor:
        found: Tensor = self.network(codes[..., :-1])
        if self.training or self.logits:
            return found
        truth = codes[..., 1:].unsqueeze(-1)
        chances = torch.log_softmax(found, -1).gather(-1, truth)
        return torch.where(truth == START, torch.nan, chances)
