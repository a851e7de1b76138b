"""Embedding dropout: whole words switched off at random while training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.errors import ArgumentError
from poise.core.kinds import Inserted
from poise.network.dropout import dropped
from poise.network.in_weights import InWeights, WeightLayer

__all__ = ["EmbeddingDropout", "EmbeddingDropoutLayer"]


class EmbeddingDropoutLayer(WeightLayer):
    """Zeroes the vector of each word of its host with probability `p` for one forward pass."""

    p: Tensor

    def edited(self, weight: Tensor) -> Tensor:
        words = (weight.shape[0], 1)
        return dropped(weight, self.rng().margin("keep", words, self.p).expand(weight.shape), self.p)


@dataclass(frozen=True)
class EmbeddingDropout(InWeights):
    """Switch off each word of the vocabulary with probability p at every training step, and scale the others.

    w' = w m / (1 - p), m ~ Bernoulli(1 - p) for each row of the embedding: a dropped word is gone wherever it occurs
    in the batch, so that the model cannot rest on single words (or levels of a category). Evaluation uses w. Costs
    two passes over the whole embedding at each forward pass, whatever the batch holds of it.

    Neutral: p = 0.
    Shapes: the weight (words, F) of every nn.Embedding and nn.EmbeddingBag.
    Units: p is the share of words dropped, not the share kept.
    Raises: ArgumentError if p is outside [0, 1], or an embedding has `sparse` gradients or a `max_norm`, which the
        embedding can only apply to its own parameter (when the layers are inserted, before any is).
    Source: Merity, Keskar, Socher 2018, "Regularizing and optimizing LSTM language models", section 4.3; after Gal
        and Ghahramani 2016.

    >>> import torch
    >>> model = EmbeddingDropout(0.5).network(nn.Sequential(nn.Embedding(100, 3)))
    >>> _ = model[0].weight.data.fill_(1.0)
    >>> sorted(set(model(torch.arange(100)).mean(-1).tolist()))
    [0.0, 2.0]
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "w' = w m / (1 - p), m ~ Bernoulli(1 - p) for each word"
    cost: ClassVar[str] = "two passes over the embeddings"
    places: ClassVar[tuple[str, ...]] = ("embeddings",)

    where: str = field(default="embeddings", kw_only=True)
    p: float = dial(0.1, neutral=0.0, low=0.0, high=1.0, unit="share of words", search=(0.0, 0.5))

    def network(self, module: nn.Module) -> nn.Module:
        instead = {"sparse": "", "max_norm": "; MaxNorm limits word vectors too"}
        for path, host in self.find(module):
            for option, advice in instead.items():
                if value := getattr(host, option):
                    raise ArgumentError(
                        f"`EmbeddingDropout` must meet embeddings without `{option}`; got {value} in {path!r}. "
                        f"Build the embedding without it{advice}."
                    )
        return super().network(module)

    def layer(self, host: nn.Module) -> Inserted:
        return EmbeddingDropoutLayer(self)
