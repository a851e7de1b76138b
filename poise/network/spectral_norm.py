"""Spectral normalisation: the largest singular value of each weight held below a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.inserted import Inserted, recomputing
from poise.core.rng import Rng, key
from poise.network.in_weights import InWeights, WeightLayer

__all__ = ["SpectralNorm", "SpectralNormLayer"]

_FIRST_ITERATIONS = 15  # as torch has it: the first steps then see a fair estimate


class SpectralNormLayer(WeightLayer):
    """Divides its host's weight by its largest singular value over `limit`, if that is above 1.

    The singular vectors are estimated by power iteration, which each training forward pass carries on from where the
    last one left it, in the buffers `left` and `right`; evaluation uses them as they are.
    """

    in_evaluation = True
    limit: Tensor
    left: Tensor
    right: Tensor

    def __init__(self, part: SpectralNorm, host: nn.Module) -> None:
        super().__init__(part)
        self.iterations = part.iterations
        matrix = _matrix(host._parameters["weight"].detach())  # type: ignore[union-attr]  # sites have a weight
        rng = Rng(key(0), "spectral_norm")
        first = [F.normalize(rng.normal(str(n), (n,), matrix.dtype), dim=0).to(matrix.device) for n in matrix.shape]
        left, right = _iterated(matrix, first[0], first[1], _FIRST_ITERATIONS)
        self.register_buffer("left", left)
        self.register_buffer("right", right)

    def edited(self, weight: Tensor) -> Tensor:
        matrix = _matrix(weight)
        # Clones: autograd holds them, and the next forward pass moves the buffers.
        left, right = self.left.to(matrix.dtype, copy=True), self.right.to(matrix.dtype, copy=True)
        if self.training and not recomputing():  # a checkpoint repeats the pass on the vectors that it left
            left, right = _iterated(matrix.detach(), left, right, self.iterations)
            # In place: an assignment would be lost under vmap and functional_call.
            self.left.copy_(left)
            self.right.copy_(right)
        sigma = left @ (matrix @ right)
        # Not min(1, limit / sigma), whose gradient at limit = inf is inf times 0.
        return (weight / (sigma / self.limit.to(sigma.dtype)).clamp(min=1)).to(weight.dtype)


def _matrix(weight: Tensor) -> Tensor:
    """Return the weight as a matrix (out, in ...), float32 at least."""
    return weight.flatten(1).to(torch.promote_types(weight.dtype, torch.float32))


@torch.no_grad()
def _iterated(matrix: Tensor, left: Tensor, right: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the singular vectors after `count` power iterations."""
    for _ in range(count):
        left = F.normalize(matrix @ right, dim=0, eps=1e-12)
        right = F.normalize(matrix.mT @ left, dim=0, eps=1e-12)
    return left, right


@dataclass(frozen=True)
class SpectralNorm(InWeights):
    """Scale each weight matrix down to a largest singular value of `limit`, if it has a larger one.

    w' = w / max(1, sigma(w) / limit): a layer then stretches no difference of its inputs by more than `limit`. A matrix
    below the limit is left as it is (torch's version also scales those up, to sigma = 1). Bounds the network's
    Lipschitz constant: for discriminators, and against outputs that jump between near inputs. sigma is estimated from
    below, by `iterations` steps of power iteration at each training forward pass; its gradient is taken with the
    singular vectors held fixed. Costs 2 iterations + 1 products of the matrix with a vector.

    Neutral: limit = inf, no limit.
    Shapes: the weights of all Linear and Conv layers, a filter (out, in, ...) as a row: for a convolution that is the
        norm of the matrix, not of the operator on images.
    Units: limit is a ratio of lengths, output over input.
    Raises: ArgumentError if limit is neither a number > 0 nor inf, or iterations is not a whole number >= 1.
    Source: Miyato, Kataoka, Koyama, Yoshida 2018, "Spectral normalization for generative adversarial networks",
        algorithm 1; torch.nn.utils.parametrizations.spectral_norm where sigma is above limit = 1.

    >>> host = nn.Linear(2, 2, bias=False)
    >>> _ = host.weight.data.copy_(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    >>> model = SpectralNorm(limit=2.0, iterations=20).network(nn.Sequential(host))
    >>> [[round(value, 4) for value in row] for row in model(torch.eye(2)).tolist()]
    [[2.0, 0.0], [0.0, 0.5]]
    """

    rank: ClassVar[int] = 14  # after the other reparametrised weights: what is used keeps to the limit
    formula: ClassVar[str] = "w' = w / max(1, sigma(w) / limit)"
    cost: ClassVar[str] = "3 products of each weight with a vector"

    where: str = field(default="weight layers", kw_only=True)
    limit: float = dial(1.0, neutral=math.inf, low=0.0, open_low=True, log=True, unit="ratio", search=(0.3, 30.0))
    iterations: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, int) or self.iterations < 1:
            raise ArgumentError(
                f"`SpectralNorm.iterations` must be a whole number >= 1; got {shown(self.iterations)}. 1 is usual."
            )

    def layer(self, host: nn.Module) -> Inserted:
        return SpectralNormLayer(self, host)
