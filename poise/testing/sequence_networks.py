"""A small network of sequences, for parts that act on embeddings, recurrent layers or attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PlainRnn", "SequenceNetwork"]


class PlainRnn(nn.RNN):
    """An nn.RNN of one layer, (B, T, F) with tanh, in plain operations: `torch.vmap` has no rule for torch's own.

    >>> x, torchs = torch.ones(2, 3, 4), nn.RNN(4, 5, batch_first=True)
    >>> plain = PlainRnn(4, 5, batch_first=True)
    >>> _ = plain.load_state_dict(torchs.state_dict())
    >>> bool(torch.allclose(plain(x)[0], torchs(x)[0]))
    True
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        own: Any = self._parameters  # where a part that edits weights puts the edited ones
        state = input.new_zeros(input.shape[0], self.hidden_size) if hx is None else hx[0]
        states = []
        for x in input.unbind(1):
            entering = nn.functional.linear(x, own["weight_ih_l0"], own["bias_ih_l0"])
            state = torch.tanh(entering + nn.functional.linear(state, own["weight_hh_l0"], own["bias_hh_l0"]))
            states.append(state)
        return torch.stack(states, 1), state[None]


class SequenceNetwork(nn.Module):
    """Reads a row as a sequence: each column is a word whose vector is scaled by the column's value."""

    def __init__(self, columns: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(columns, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrent = PlainRnn(4, 6, batch_first=True)
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        words = x[..., None] * self.embedding(torch.arange(x.shape[-1], device=x.device))
        mixed, _ = self.attention(words, words, words)
        states, _ = self.recurrent(words + mixed)
        answer: Tensor = self.head(states.mean(1))
        return answer
