"""Checks of the sizes and choices that networks are built with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from poise.core.errors import ArgumentError, shown

__all__ = ["PaddingMode", "check_choice", "check_sizes"]

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
"""What stands beyond the borders of an image, in torch's words."""


def check_sizes(owner: str, **sizes: object) -> None:
    """Raise ArgumentError unless every size is an int >= 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ArgumentError(f"`{owner}.{name}` must be an int >= 1; got {shown(size)}.")


def check_choice(owner: str, name: str, value: object, choices: Collection[str]) -> None:
    """Raise ArgumentError unless the value is one of the choices."""
    if value not in choices:
        raise ArgumentError(f"`{owner}.{name}` must be one of {', '.join(choices)}; got {shown(value)}.")
