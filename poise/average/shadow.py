"""The copy of a weight that an average keeps."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["shadow"]


def shadow(weight: Tensor) -> Tensor:
    """Return a copy of the weight that training cannot write to, in float32 at least.

    In bfloat16 an average stops moving: 1 + 0.001 * 1 is 1 there.

    >>> shadow(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return weight.detach().to(torch.promote_types(weight.dtype, torch.float32), copy=True)
