"""Several processes that train one model: which one this is, and values that all of them must agree on."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn

from poise.core.kinds import inserted_layers

__all__ = ["keep_own_draws", "mean_over_ranks", "rank_and_world", "reduce_gradients"]


def rank_and_world() -> tuple[int, int]:
    """Return (number of this process, number of processes); (0, 1) without `torch.distributed`."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def keep_own_draws(model: nn.Module) -> None:
    """Tell DistributedDataParallel not to send rank 0's keys to the others: all would draw the same masks."""
    if rank_and_world()[1] > 1:
        own = {f"{path}.{name}" for path, layer in inserted_layers(model) for name in layer._non_persistent_buffers_set}
        ignored = set(getattr(model, "_ddp_params_and_buffers_to_ignore", ())) | own
        nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, sorted(ignored))


def mean_over_ranks(value: Tensor) -> Tensor:
    """Return the mean of a 0-d float64 value over all processes, the same number on each; NaN if one has NaN."""
    _, world = rank_and_world()
    if world == 1:
        return value
    gathered = [torch.empty_like(value) for _ in range(world)]
    distributed.all_gather(gathered, value)
    return torch.stack(gathered).mean()  # summed in one order everywhere: the decision must not differ by a bit


def reduce_gradients(grads: Iterable[Tensor]) -> None:
    """Put into each gradient its mean over all processes, as DistributedDataParallel does with the total's."""
    _, world = rank_and_world()
    for grad in grads if world > 1 else ():
        distributed.all_reduce(grad)
        grad.div_(world)
