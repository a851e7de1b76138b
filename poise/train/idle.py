"""Which parts of a recipe do nothing for any member of a population."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from poise.core.dial import dials_of
from poise.core.recipe import Recipe
from poise.core.schedule import Schedule

__all__ = ["idle_parts"]


def idle_parts(recipe: Recipe, dials: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the parts all of whose dials are neutral for every member. Shapes: dials (M,)."""
    now = {**recipe.dials(), **dials}
    declared = {part.name: dials_of(part) for part in recipe}
    return [
        name
        for name, own in declared.items()
        if own and all(_all_equal(now[f"{name}.{field}"], dial.neutral) for field, dial in own.items())
    ]


def _all_equal(value: object, number: float) -> bool:
    if isinstance(value, Schedule):
        return False
    return bool((torch.as_tensor(value) == number).all())
