"""Norms, reparametrised weights and layers of sequences leave nothing behind when they are removed."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise.core.kinds import Insertion
from poise.network import (
    AlphaDropout,
    AttentionDropout,
    DropBlock,
    EmbeddingDropout,
    FrontScale,
    GaussianDropout,
    GhostBatchNorm,
    GroupNorm,
    LockedDropout,
    RecurrentDropConnect,
    RmsNorm,
    SpatialDropout,
    SpectralNorm,
    WeightNorm,
    WeightStandardization,
)
from poise.network.remove import remove

pytestmark = pytest.mark.usefixtures("seeded")
PARTS: tuple[Insertion, ...] = (
    AlphaDropout(0.5),
    AttentionDropout(0.5),
    DropBlock(0.5, size=2),
    EmbeddingDropout(0.5),
    FrontScale(),
    GaussianDropout(0.5),
    GhostBatchNorm(size=4),
    GroupNorm(groups=2),
    LockedDropout(0.5, 0.3),
    RecurrentDropConnect(0.5),
    RmsNorm(),
    SpatialDropout(0.5),
    SpectralNorm(0.3),
    WeightNorm(),
    WeightStandardization(),
)


class Network(nn.Module):
    """Words to numbers, by way of everything that a part here may act on."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.recurrent = nn.LSTM(8, 8, batch_first=True)
        self.convolution, self.activation = nn.Conv1d(8, 6, 3), nn.SELU()
        self.head = nn.Linear(6, 2)

    def forward(self, text: Tensor) -> Tensor:
        words = self.embedding(text)
        mixed, _ = self.attention(words, words, words)
        states, _ = self.recurrent(words + mixed)
        answer: Tensor = self.head(self.activation(self.convolution(states.mT)).mean(-1))
        return answer


def described(model: nn.Module) -> list[Any]:
    """All that a module is besides the numbers of its tensors: its class, its attributes, its hooks."""
    plain = ("_forward_hooks", "_forward_pre_hooks", "_modules", "_parameters", "_buffers")
    return [
        (path, type(one), sorted(one.__dict__), [sorted(one.__dict__[n]) for n in plain])
        for path, one in model.named_modules()
    ]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_removed_the_model_is_what_it_was(part: Insertion) -> None:
    bare, text = Network(), torch.randint(0, 20, (10, 9))
    model, other = copy.deepcopy(bare), copy.deepcopy(bare)
    inserted = part.network(model)
    starts_where_it_was = isinstance(part, (WeightNorm, FrontScale))
    assert starts_where_it_was or not torch.equal(inserted(text), bare(text))
    inserted(text).sum().backward()
    remove(model)
    assert described(model) == described(other)
    assert torch.equal(model(text), bare(text))
    assert torch.equal(model.eval()(text), bare.eval()(text))


def test_all_together_they_train_and_leave_nothing() -> None:
    bare, text = Network(), torch.randint(0, 20, (10, 9))
    model = copy.deepcopy(bare)
    for part in sorted(PARTS, key=lambda part: part.rank):
        part.network(model)
    model(text).sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())
    assert described(remove(model)) == described(bare)
    assert torch.equal(model(text), bare(text))
