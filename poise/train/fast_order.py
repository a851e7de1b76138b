"""Random orders of many rows, a member each, by a kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from poise.core.rng import stream
from poise.kernels import available
from poise.kernels.members import Order
from poise.train.work import Work

__all__ = ["orders_by_kernel"]


def orders_by_kernel(keys: Tensor, name: str, count: int) -> Tensor | None:
    """Return the random order (M, count) of each key (M, 3) under a stream's name, None where there is no kernel."""
    if not available() or keys.device.type != "cpu":
        return None
    work = Work(len(keys))
    places = torch.empty(len(keys), count, dtype=torch.int64)
    work.add("poise_order", Order(count, stream(name), work.hold(keys), places.data_ptr()), 8 * count + 64)
    work.run()
    return places
