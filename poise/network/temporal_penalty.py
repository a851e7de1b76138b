"""Temporal activation penalty: the states of recurrent layers are kept small and slow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import Inserted, Insertion, Recorder, summed
from poise.core.means import wide
from poise.core.regularizer import Memory
from poise.network.activation_penalty import mean_over_rows
from poise.network.attach import child_name, child_of
from poise.network.sites import recurrent_layers

__all__ = ["TemporalPenalty", "TemporalRecorder"]


class TemporalRecorder(Recorder):
    """Keeps the states of a recurrent layer, rows first, and after them their changes from step to step."""

    def __init__(self, part: TemporalPenalty, host: nn.Module) -> None:
        super().__init__(part)
        self.batch_first = bool(host.batch_first)

    def record(self, states: Tensor | PackedSequence) -> None:
        if not self.training:
            return
        if isinstance(states, PackedSequence):
            self.seen += [states.data, _packed_changes(states)]
            return
        rows = states if self.batch_first or states.dim() < 3 else states.transpose(0, 1)
        self.seen += [rows, rows.diff(dim=-2)]  # one sequence without rows is (T, H)


def _packed_changes(states: PackedSequence) -> Tensor:
    """Return the changes of the sequences that still run: at step t the first batch_sizes[t] of them do."""
    steps = states.data.split(states.batch_sizes.tolist())
    changes = [later - earlier[: len(later)] for earlier, later in pairwise(steps)]
    return torch.cat(changes) if changes else states.data[:0]


def _record(child: str, host: nn.Module, _: Any, output: tuple[Any, Any]) -> None:
    layer = child_of(host, child)
    if isinstance(layer, TemporalRecorder) and not layer.idle:
        layer.record(output[0])


@dataclass(frozen=True)
class TemporalPenalty(Insertion):
    """Adds the mean squared state of recurrent layers, and its mean squared change from step to step.

    sum over recurrent layers of size mean h_t^2 + change mean (h_{t+1} - h_t)^2, h the last layer's states of a stack.
    Use it in language models and other recurrent networks beside locked dropout. Recorded are the states before
    dropout that other parts put there (the paper drops them for the first term only). A network that calls its layer
    step by step shows no change. Costs three passes over the states.

    Neutral: size = 0 and change = 0.
    Shapes: outputs of nn.RNN, nn.LSTM and nn.GRU: (T, B, H), (B, T, H) with batch_first, (T, H), or a
        PackedSequence, whose steps count alike; the term is 0-d, float32 at least; means over rows of padded
        sequences take the rows' weights.
    Units: objective per squared state, without a half; the paper's alpha and beta.
    Raises: ArgumentError if size or change is not a finite number >= 0.
    Source: Merity, McCann and Socher 2017, "Revisiting activation regularization for language RNNs", with means of
        squares for its norms, as the authors' code has them (2 and 1 there).

    >>> ctx = Context(0, rng=None, activations={"": (torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[2.0]]]))})
    >>> TemporalPenalty(size=2.0, change=1.0).objective({}, {}, ctx)[0]["temporal_penalty"]  # 2 * 5 + 4
    tensor(14.)
    """

    rank: ClassVar[int] = 10  # its layers see what the recurrent layer answers, before dropout
    formula: ClassVar[str] = "sum over recurrent layers of size mean h^2 + change mean (h_{t+1} - h_t)^2"
    cost: ClassVar[str] = "three passes over the states"
    sites: ClassVar[str] = "after every recurrent layer"

    size: DialValue = dial(2.0, neutral=0.0, low=0.0, log=True, search=(1e-3, 10.0))
    change: DialValue = dial(1.0, neutral=0.0, low=0.0, log=True, search=(1e-3, 10.0))

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        return recurrent_layers(module)

    def insert(self, host: nn.Module, layer: Inserted) -> None:
        host.register_forward_hook(partial(_record, child_name(self)))

    def layer(self, host: nn.Module) -> Inserted:
        return TemporalRecorder(self, host)

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        def squared(recorded: tuple[Tensor, ...]) -> list[Tensor]:
            means = [mean_over_rows(wide(values).square(), ctx) for values in recorded if values.numel()]
            return [torch.stack(means).mean()] if means else []

        size = summed([mean for seen in ctx.activations.values() for mean in squared(seen[::2])])
        change = summed([mean for seen in ctx.activations.values() for mean in squared(seen[1::2])])
        return terms | {self.name: like(self.size, size) * size + like(self.change, change) * change}, memory
