"""Rows mixed with other rows of the batch: who with whom, by how much, and the weighted mean itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from poise.core.context import Batch
from poise.core.errors import ArgumentError
from poise.core.mapped import behind_vmap
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.core.trees import map_tree
from poise.kernels.images import mixed, serves

__all__ = ["blend", "blend_labels", "blend_targets", "draw_partners"]


def draw_partners(
    rng: Rng, rows: int, alpha: Tensor | float, share: Tensor | float, majority: bool
) -> tuple[Tensor, Tensor]:
    """Return (partner, taken): the other row of each row, a permutation, and its weight 1 - lambda.

    lambda ~ Beta(alpha, alpha) for each row; with `majority` max(lambda, 1 - lambda); 1 for rows that a share leaves.
    """
    kept = rng.symmetric_beta("lambda", (rows,), alpha, torch.float64)
    if majority:
        kept = torch.maximum(kept, 1 - kept)
    mixed = rng.uniform("share", (rows,)) < share
    # Beta(0, 0) would exchange whole rows; the limit that users mean by alpha = 0 is "off".
    mixed = mixed & (placed(alpha, kept) > 0)
    return rng.permutation("partner", rows), torch.where(mixed, 1 - kept, 0.0)


def blend(values: Tensor, partner: Tensor, taken: Tensor) -> Tensor:
    """Return (1 - taken) values + taken values[partner], row by row; taken = 0 gives the values bit for bit.

    Bytes are rounded. Shapes: values (B, ...), partner (B,) int64, taken (B,).
    """
    if not isinstance(values, Tensor) or not (values.is_floating_point() or values.dtype == torch.uint8):
        got = values.dtype if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise ArgumentError(
            f"mixed inputs, targets and row weights must be floating-point tensors, or bytes; got {got}. "
            "Encode categories as one-hot columns and classes as distributions first."
        )
    if values.shape[:1] != taken.shape:
        raise ArgumentError(
            f"mixed inputs, targets and row weights must have the rows first, as many each; got shape "
            f"{tuple(values.shape)} for {len(taken)} rows of targets. Transpose sequences that have time first."
        )
    if values.dim() == 4 and values.dtype in (torch.uint8, torch.float32) and serves(values):
        return behind_vmap(lambda *given: (mixed(*given),), values, partner, taken)[0]
    if values.dtype == torch.uint8:
        return blend(values.float(), partner, taken).round().to(torch.uint8)
    amount = taken.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))
    return torch.lerp(values, values[partner], amount)


def blend_targets(targets: Any, partner: Tensor, taken: Tensor) -> Any:
    """As `blend`, for targets or a dict of them by task; a label that one of two mixed rows lacks (NaN) stays missing.

    >>> blend_targets({"age": torch.tensor([4.0, torch.nan])}, torch.tensor([1, 0]), torch.tensor([0.0, 0.5]))
    {'age': tensor([4., nan])}
    """

    def mix(labels: Tensor) -> Tensor:
        mixed = blend(labels, partner, taken)
        # A row that takes nothing from its partner does not take its NaN either.
        return torch.where(taken.reshape(-1, *[1] * (labels.dim() - 1)) > 0, mixed, labels)

    return map_tree(mix, targets)


def blend_labels(batch: Batch, partner: Tensor, taken: Tensor) -> Batch:
    """Return the batch with targets and row weights mixed, and its inputs as they are."""
    weights = None if batch.weights is None else blend(batch.weights, partner, taken)
    return batch._replace(targets=blend_targets(batch.targets, partner, taken), weights=weights)
