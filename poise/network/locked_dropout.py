"""Locked dropout: features of a sequence switched off at random, the same ones at all time steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from poise.core.dial import dial
from poise.core.kinds import Inserted, Insertion
from poise.core.rng import Rng
from poise.network.attach import child_name, child_of
from poise.network.dropout import dropped
from poise.network.sites import recurrent_layers

__all__ = ["LockedDropout", "LockedDropoutLayer"]

Sequences = Tensor | PackedSequence


class LockedDropoutLayer(Inserted):
    """Zeroes each feature of each sequence, at all its time steps, while training; does nothing in evaluation."""

    p: Tensor
    input_p: Tensor

    def __init__(self, part: LockedDropout, host: nn.Module) -> None:
        super().__init__(part)
        self.batch_first = bool(host.batch_first)
        self.stream = ""

    def begin(self) -> None:
        """Begin a call of the host: its inputs and outputs count as one, as a checkpoint that repeats it needs."""
        if self.training:
            self.stream = self.rng().name

    def forward(self, x: Sequences, p: Tensor, label: str) -> Sequences:
        if not self.training:
            return x
        rng = Rng(self.key, self.stream)
        if isinstance(x, PackedSequence):
            return _packed(x, rng, label, p)
        time = 1 if self.batch_first and x.dim() == 3 else 0
        once = tuple(1 if dim == time else size for dim, size in enumerate(x.shape))
        return dropped(x, rng.margin(label, once, p).expand(x.shape), p)


def _packed(x: PackedSequence, rng: Rng, label: str, p: Tensor) -> PackedSequence:
    """Return what the padded sequences would get: at step t the first batch_sizes[t] sequences still run."""
    sizes = x.batch_sizes.tolist()
    margin = rng.margin(label, (sizes[0], x.data.shape[-1]), p)
    if x.sorted_indices is not None:
        margin = margin[x.sorted_indices]
    rows = torch.cat([torch.arange(size, device=x.data.device) for size in sizes])
    return PackedSequence(dropped(x.data, margin[rows], p), x.batch_sizes, x.sorted_indices, x.unsorted_indices)


def _layer_of(child: str, host: nn.Module) -> LockedDropoutLayer:
    layer = child_of(host, child)
    assert isinstance(layer, LockedDropoutLayer)
    return layer


def _into(child: str, host: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Forward pre-hook: drop features of the sequences that enter."""
    layer = _layer_of(child, host)
    if layer.idle:
        return None
    layer.begin()
    if args:
        return (layer(args[0], layer.input_p, "inputs"), *args[1:]), named
    return args, named | {"input": layer(named["input"], layer.input_p, "inputs")}


def _out_of(child: str, host: nn.Module, _: Any, output: tuple[Sequences, Any]) -> tuple[Sequences, Any]:
    """Forward hook: drop features of the sequences that leave; the last state is left as it is."""
    layer = _layer_of(child, host)
    sequences, state = output
    return output if layer.idle else (layer(sequences, layer.p, "outputs"), state)


@dataclass(frozen=True)
class LockedDropout(Insertion):
    """Switch off each feature of a sequence with probability p, at all its time steps, and scale the others.

    y_t = x_t m / (1 - p), m ~ Bernoulli(1 - p) for each sequence and feature, the same m at every step t; on the
    outputs of recurrent layers with p, on their inputs with input_p. A mask that changes at every step would be
    averaged away, or drown the state; use this in recurrent networks instead of dropout. Evaluation leaves x as it
    is. The layer's last state and, of a stack, what passes between its layers are left alone. Each call draws anew,
    so a network that calls its layer step by step gets another mask at each step. Costs two passes over inputs and
    outputs, and next to no random numbers.

    Neutral: p = 0 and input_p = 0.
    Shapes: (T, B, F), (B, T, F) with batch_first, (T, F), or a PackedSequence, around nn.RNN, nn.LSTM and nn.GRU.
    Units: p and input_p are shares of features dropped, not shares kept.
    Raises: ArgumentError if p or input_p is outside [0, 1].
    Source: Gal and Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural networks",
        section 4; for the recurrent weights see `RecurrentDropConnect`.

    >>> model = LockedDropout(0.5).network(nn.RNN(2, 50, batch_first=True))
    >>> output, _ = model(torch.ones(1, 7, 2))
    >>> sorted(set((output == 0).sum(1).flatten().tolist()))
    [0, 7]
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "y_t = x_t m / (1 - p), m ~ Bernoulli(1 - p), the same at all t"
    cost: ClassVar[str] = "two passes over the sequences"
    sites: ClassVar[str] = "around every recurrent layer"

    p: float = dial(0.2, neutral=0.0, low=0.0, high=1.0, unit="share of features", search=(0.0, 0.8))
    input_p: float = dial(0.0, neutral=0.0, low=0.0, high=1.0, unit="share of features", search=(0.0, 0.8))

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        return recurrent_layers(module)

    def insert(self, host: nn.Module, layer: Inserted) -> None:
        host.register_forward_pre_hook(partial(_into, child_name(self)), with_kwargs=True)
        host.register_forward_hook(partial(_out_of, child_name(self)))

    def layer(self, host: nn.Module) -> Inserted:
        return LockedDropoutLayer(self, host)
