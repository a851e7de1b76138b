"""The values of gradients: a sparse one (an embedding's, with sparse=True) holds the rows that occur."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["common_norm", "map_values", "rows_like", "values_of"]


def values_of(grad: Tensor) -> Tensor:
    """Return the values of a gradient: of a sparse one the rows that occur, each once."""
    return grad.coalesce().values() if grad.is_sparse else grad


def map_values(function: Callable[[Tensor], Tensor], grad: Tensor) -> Tensor:
    """Return the gradient with `function` applied to its values; a sparse one stays sparse.

    >>> map_values(lambda values: 2 * values, torch.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """
    if not grad.is_sparse:
        return function(grad)
    rows = grad.coalesce()
    values = function(rows.values())
    return torch.sparse_coo_tensor(rows.indices(), values, rows.shape, is_coalesced=True, check_invariants=False)


def rows_like(weight: Tensor, grad: Tensor) -> Tensor:
    """Return the weights that the values of the gradient belong to."""
    return weight[grad.coalesce().indices()[0]] if grad.is_sparse else weight


def common_norm(grads: Iterable[Tensor]) -> Tensor:
    """Return the Euclidean norm of all gradients together (0-d), summed in float32 at least.

    >>> common_norm([torch.tensor([3.0]), torch.tensor([4.0], dtype=torch.bfloat16)])
    tensor(5.)
    """
    dense = [values_of(g) for g in grads]
    wide = [torch.promote_types(g.dtype, torch.float32) for g in dense]
    each = [torch.linalg.vector_norm(g, dtype=dtype) for g, dtype in zip(dense, wide, strict=True)]
    norm: Tensor = torch.linalg.vector_norm(torch.stack([n.to(max(wide, key=lambda d: d.itemsize)) for n in each]))
    return norm
