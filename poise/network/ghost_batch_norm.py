"""Ghost batch normalisation: batch normalisation over small parts of a large batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.kinds import Inserted
from poise.network.attach import AfterHiddenLayers
from poise.network.batch_norm import BatchNormLayer, check_statistics
from poise.network.standardize import standardize

__all__ = ["GhostBatchNorm", "GhostBatchNormLayer"]


class GhostBatchNormLayer(BatchNormLayer):
    """Standardises features by ghost batches of rows while training, by running statistics in evaluation."""

    def __init__(self, part: GhostBatchNorm, host: nn.Module) -> None:
        super().__init__(part, host, part.momentum, part.eps)
        self.size = part.size

    def standardized(self, x: Tensor, gain: Tensor, offset: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = x.shape[0]
        ghosts = rows // self.size
        if ghosts < 2 or x.dim() == -self.dim:  # one ghost batch, or one image of several positions
            return super().standardized(x, gain, offset, rest)
        # Shared out evenly, because a remainder of one row has no variance: some ghost batches have one row more.
        least, more = divmod(rows, ghosts)
        outputs, means, variances = [], [], []
        for part, size in ((x[: more * (least + 1)], least + 1), (x[more * (least + 1) :], least)):
            if len(part):
                out, mean, var = self._by_ghost(part.unflatten(0, (-1, size)), gain, offset, rest)
                outputs.append(out.flatten(0, 1))
                means.append(mean * (size / rows))
                variances.append(var * (size / rows))
        return torch.cat(outputs), torch.cat(means).sum(0), torch.cat(variances).sum(0)

    def _by_ghost(self, x: Tensor, gain: Tensor, offset: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output, mean (G, F) and variance (G, F) of G ghost batches (G, rows, ...) in one pass."""
        dims = tuple(d for d in range(1, x.dim()) if d != x.dim() + self.dim)
        moments = [1 if d in dims else size for d, size in enumerate(x.shape)]
        # Expanded, so that each ghost batch has gradients of its own, which autograd sums.
        gain, offset = gain.expand(moments), offset.expand(moments)
        out, mean, var = standardize(x, gain, offset, rest, self.eps, dims)
        seen = x.numel() // mean.numel()
        return out, mean.flatten(1), var.flatten(1) * (seen / (seen - 1))


@dataclass(frozen=True)
class GhostBatchNorm(AfterHiddenLayers):
    """Standardise each hidden feature over ghost batches of `size` rows, then give it a learned scale and shift.

    y = x + share (weight (x - mean) / sqrt(var + eps) + bias - x), mean and variance over the ghost batch that the
    row is in. A batch of n rows is shared out evenly, in order, into n // size ghost batches (one if n < size), so
    none has fewer than `size` rows. Brings back, with large batches, the noise of small ones, which regularizes.
    Running statistics move once a step, towards the mean over the ghost batches, each by its rows (the paper moves
    them once for each ghost batch), and evaluation uses them. Costs what batch normalisation does.

    Neutral: share = 0.
    Shapes: (..., F) after a linear layer, (B, C, ...) after a convolution; ghost batches are parts of dimension 0.
    Units: share is the weight of the normalised values; size is in rows; momentum is the weight of the new batch.
    Raises: ArgumentError if share is outside [0, 1], size is not a whole number >= 2, momentum is outside (0, 1], or
        eps <= 0; in training with one row.
    Source: Hoffer, Hubara, Soudry 2017, "Train longer, generalize better", algorithm 1.

    >>> model = GhostBatchNorm(size=2, eps=1e-12).network(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)))
    >>> hidden = model[0](torch.tensor([[1.0], [3.0], [10.0], [30.0]])).abs().detach()
    >>> [round(float(v), 3) for v in hidden.flatten()]
    [1.0, 1.0, 1.0, 1.0]
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "y = x + share (weight (x - ghost mean) / sqrt(ghost var + eps) + bias - x)"
    cost: ClassVar[str] = "2 passes over the activations forward, 5 back"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))
    size: int = 32
    momentum: float = 0.1
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 2:
            raise ArgumentError(
                f"`GhostBatchNorm.size` must be a whole number >= 2; got {shown(self.size)}. "
                "One row has no variance; 32 to 128 is usual."
            )
        check_statistics(type(self).__name__, self.momentum, self.eps)

    def layer(self, host: nn.Module) -> Inserted:
        return GhostBatchNormLayer(self, host)
