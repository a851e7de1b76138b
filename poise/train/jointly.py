"""What the members of one ensemble may share: the order of their batches, and the moment at which training ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from poise.core.blocks import Blocks
from poise.core.errors import ArgumentError, shown
from poise.core.rng import key
from poise.core.trees import map_tree
from poise.predict.averaged import mean_answer
from poise.train.rows import Rows, shared_rows

if TYPE_CHECKING:
    from poise.train.population import Population, Score

__all__ = ["check_shared", "joint_outputs", "joint_scores", "order_keys"]

_EVERYONE = -1  # the member id that a shared order is drawn for: no member's own


def check_shared(batches: str, stopping: str) -> None:
    """Raise ArgumentError for what a population does not know."""
    if batches not in ("own", "shared"):
        raise ArgumentError(
            f'`Population.batches` must be "own" or "shared"; got {shown(batches)}. With "shared", every member sees '
            "the same rows at each step."
        )
    if stopping not in ("member", "ensemble"):
        raise ArgumentError(
            f'`Population.stopping` must be "member" or "ensemble"; got {shown(stopping)}. With "ensemble", the mean '
            "answer says when all members stop."
        )


def order_keys(keys: Tensor, seed: int, batches: str) -> Tensor:
    """Return the keys by which members' orders of rows are drawn, (M, 3): their own, or one for all."""
    return keys if batches == "own" else key(seed, _EVERYONE).to(keys.device).expand_as(keys)


def joint_scores(population: Population, outputs: Any, data: Rows, score: Score, rows: Tensor | None) -> Tensor:
    """Return the score of the mean answer, for every member the same, (M,). Shapes: outputs (M, n, ...).

    Raises: ArgumentError if each member answers for `rows` of its own.
    """
    if rows is not None:
        raise ArgumentError(
            '`Population.evaluate.rows` must be None with stopping="ensemble": all members answer for the same rows.'
        )
    program, sound = population.program, ~population.diverged
    joint = joint_outputs(outputs, sound, program.classes, program.blocks)
    return score(joint, shared_rows(data, 1)).expand(len(population))


def joint_outputs(outputs: Any, sound: Tensor, classes: int | None, blocks: Blocks | None) -> Any:
    """Return the mean answer of the members that are `sound` (M,) bool, as outputs of one network (1, n, ...).

    Of classes, the logarithm of the mean probability; of numbers, their mean. Shapes: outputs (M, n, ...).
    """
    layout = blocks or Blocks((classes,))
    counted = sound if bool(sound.any()) else torch.ones_like(sound)
    share = counted.double() / counted.sum()

    def mean(tensor: Tensor) -> Tensor:
        own = share.to(tensor.device, torch.promote_types(tensor.dtype, torch.float32))
        own = own.reshape(-1, *[1] * (tensor.dim() - 1))
        if classes is None and blocks is None:
            return mean_answer(tensor, own, "output")[None]
        parts = [
            mean_answer(layout.own(tensor, task), own, "probability" if kind else "output")
            for task, kind in enumerate(layout.classes)
        ]
        return torch.cat(parts, dim=-1)[None]

    return map_tree(mean, outputs)
