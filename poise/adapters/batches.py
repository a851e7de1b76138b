"""Where inputs and targets are in a trainer's batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from poise.core.errors import ArgumentError, shown
from poise.core.recipe import Recipe
from poise.train.run import Run

__all__ = ["Parts", "check_parts", "edited"]

Parts = tuple[Callable[[Any], tuple[Any, ...]], Callable[..., Any]]
"""`take(batch)` returns (inputs, targets) or (inputs, targets, weights); `put(batch, *parts)` returns the batch with
these in their places."""


def check_parts(owner: str, parts: Parts | None) -> None:
    """Raise ArgumentError unless it is a pair of functions, or None."""
    if parts is None:
        return
    if not (isinstance(parts, tuple) and len(parts) == 2 and all(callable(function) for function in parts)):
        raise ArgumentError(
            f"`{owner}.batch` must be two functions (take, put); got {shown(parts)}. take(batch) returns (inputs, "
            "targets), put(batch, inputs, targets) the batch with these in place."
        )


def edited(owner: str, run: Run, recipe: Recipe, batch: Any, parts: Parts | None) -> Any:
    """Return the batch after the batch stage. Raises ArgumentError if a part edits it and nobody says where."""
    if parts is None and isinstance(batch, (tuple, list)) and len(batch) == 2:
        parts = (tuple, _pair)
    if parts is not None:
        take, put = parts
        return put(batch, *run.batch(*take(batch)))
    if recipe.stage("batch"):
        names = ", ".join(part.name for part in recipe.stage("batch"))
        raise ArgumentError(
            f"`{owner}.batch` must say where inputs and targets are, because {names} edits them and the batch is no "
            f"pair; got a {type(batch).__name__}. Write batch=(take, put), two functions."
        )
    return batch


def _pair(batch: Any, inputs: Any, targets: Any) -> Any:
    return [inputs, targets] if isinstance(batch, list) else (inputs, targets)
