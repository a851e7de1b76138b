"""Soft sharing by cross-stitch: a network for each task, and learned mixtures of what their layers say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.network.multi_task import check_tasks

__all__ = ["CrossStitch", "CrossStitchUnit"]


class CrossStitchUnit(nn.Module):
    """Mixes the activations of T trunks: x'_i = sum_j alpha_ij x_j.

    alpha (T, T) is learned and begins with `own` on the diagonal and (1 - own) / (T - 1) elsewhere, so that each row
    sums to 1. It counts as a norm among the roles: decay would not pull it to the identity but to silence.

    >>> unit = CrossStitchUnit(2, own=0.75)
    >>> [mixed.tolist() for mixed in unit([torch.tensor([4.0]), torch.tensor([0.0])])]
    [[3.0], [1.0]]
    """

    parameter_roles: ClassVar[dict[str, str]] = {"alpha": "norm"}

    def __init__(self, trunks: int, own: float = 0.9) -> None:
        super().__init__()
        if trunks < 2 or not 0 <= own <= 1:
            raise ArgumentError(
                f"`CrossStitchUnit` must have at least 2 trunks and `own` in [0, 1]; got {shown(trunks)} and "
                f"{shown(own)}. own = 1 begins with trunks that do not hear each other."
            )
        eye = torch.eye(trunks)
        self.alpha = nn.Parameter(own * eye + (1 - own) / (trunks - 1) * (1 - eye))

    def forward(self, values: list[Tensor]) -> list[Tensor]:
        """Return the mixtures, one for each trunk; all values have one shape."""
        return list(torch.einsum("ij,j...->i...", self.alpha, torch.stack(values)))


class CrossStitch(nn.Module):
    """A trunk and a head for each task, with a cross-stitch unit after every block of the trunks.

    x'_i = sum_j alpha_ij x_j after each block, alpha learned, near the identity at first. The data decide how much the
    tasks share at each depth; use it where hard sharing hurts one of them. Costs a whole trunk for each task. A block
    is one child of the trunk; give a layer and its activation as one block (nn.Sequential in nn.Sequential), as the
    units belong behind activations.

    Shapes: trunks of equal structure, one for each head; inputs as each trunk takes them; outputs a dict by task.
    Units: `own` is the share that a trunk keeps of itself at first, in [0, 1]; 1 is no sharing.
    Raises: ArgumentError if the trunks differ in their blocks or parameter shapes, or their tasks from the heads'.
    Source: Misra, Shrivastava, Gupta and Hebert 2016, "Cross-stitch networks for multi-task learning", equation 1,
        with one alpha for all channels of a layer.

    >>> trunks = {task: nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8)) for task in ("age", "income")}
    >>> model = CrossStitch(trunks, {"age": nn.Linear(8, 1), "income": nn.Linear(8, 1)})
    >>> len(model.units), tuple(model(torch.zeros(2, 4))["age"].shape)
    (2, (2, 1))
    """

    def __init__(self, trunks: Mapping[str, nn.Sequential], heads: Mapping[str, nn.Module], own: float = 0.9) -> None:
        super().__init__()
        check_tasks("CrossStitch.heads", heads)
        if sorted(trunks) != sorted(heads):
            raise ArgumentError(
                f"`CrossStitch.trunks` must have the tasks of the heads, {sorted(heads)}; got {sorted(trunks)}. "
                "Give each task a trunk and a head."
            )
        forms = {task: [_form(block) for block in trunk] for task, trunk in trunks.items()}
        first = next(iter(forms.values()))
        for task, form in forms.items():
            if form != first:
                raise ArgumentError(
                    f"`CrossStitch.trunks` must have equal blocks; got other blocks or shapes for {task!r}. "
                    "Build each trunk with the same function."
                )
        self.trunks = nn.ModuleDict({task: trunks[task] for task in heads})
        self.heads = nn.ModuleDict(heads)
        self.units = nn.ModuleList(CrossStitchUnit(len(heads), own) for _ in first)

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        """Return each task's outputs by its name."""
        values = [inputs for _ in self.trunks]
        depths: Iterator[tuple[nn.Module, ...]] = zip(*self.trunks.values(), strict=True)
        for unit, blocks in zip(self.units, depths, strict=True):
            values = unit([block(value) for block, value in zip(blocks, values, strict=True)])
        return {task: head(value) for (task, head), value in zip(self.heads.items(), values, strict=True)}


def _form(block: nn.Module) -> tuple[str, dict[str, torch.Size]]:
    return type(block).__name__, {name: parameter.shape for name, parameter in block.named_parameters()}
