"""Activation checkpoints repeat the forward pass of norms, reparametrised weights and sequence layers as it was."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from poise.core.kinds import Insertion
from poise.core.rng import key
from poise.network import (
    AttentionDropout,
    BatchNorm,
    EmbeddingDropout,
    GhostBatchNorm,
    LockedDropout,
    RecurrentDropConnect,
    SpectralNorm,
    WeightNorm,
)

pytestmark = pytest.mark.usefixtures("seeded")


class Network(nn.Module):
    """Words to numbers, one block of which may be checkpointed."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.recurrent = nn.GRU(8, 8, num_layers=2, batch_first=True)
        self.hidden, self.head = nn.Linear(8, 6), nn.Linear(6, 2)

    def body(self, words: Tensor) -> Tensor:
        mixed, _ = self.attention(words, words, words)
        states, _ = self.recurrent(words + mixed)
        answer: Tensor = self.head(torch.tanh(self.hidden(states[:, -1])))
        return answer

    def forward(self, text: Tensor, saving: bool = False) -> Tensor:
        words = self.embedding(text)
        answer: Tensor = checkpoint(self.body, words, use_reentrant=False) if saving else self.body(words)
        return answer


@pytest.mark.parametrize(
    "part",
    [
        AttentionDropout(0.5),
        BatchNorm(),
        EmbeddingDropout(0.3),
        GhostBatchNorm(size=4),
        LockedDropout(0.5, 0.3),
        RecurrentDropConnect(0.5),
        SpectralNorm(0.3),
        WeightNorm(),
    ],
    ids=lambda part: part.name,
)
def test_gradients_and_buffers_are_those_without_a_checkpoint(part: Insertion) -> None:
    plain = part.network(Network())
    saving, text = copy.deepcopy(plain), torch.randint(0, 20, (10, 5))
    for model, kept in ((plain, False), (saving, True)):
        for layer in model.modules():
            if hasattr(layer, "key"):
                layer.key.copy_(key(3))
        model(text, kept).square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name  # type: ignore[arg-type]  # just set
    for (name, buffer), kept_one in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(buffer, kept_one), name
