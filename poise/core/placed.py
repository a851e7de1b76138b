"""Constants where a tensor is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["placed"]


def placed(numbers: Any, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return `torch.tensor(numbers)` on the device of `like`: a number, or nested sequences; a tensor goes there.

    On a GPU each number is written by itself: for a copy from the host's memory, the GPU's work would be waited for,
    and a step with one cannot be recorded (`poise/train/recorded.py`).

    >>> placed([[1, 2], [3, 4]], torch.zeros(1), torch.float32)
    tensor([[1., 2.],
            [3., 4.]])
    """
    if like.is_cpu or isinstance(numbers, Tensor):
        return torch.as_tensor(numbers, dtype=dtype, device=like.device)
    if isinstance(numbers, Sequence):
        return torch.stack([placed(one, like, dtype) for one in numbers])
    return torch.full((), numbers, dtype=dtype, device=like.device)
