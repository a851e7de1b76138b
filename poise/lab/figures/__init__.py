"""The figures of the chapter, by id."""

from __future__ import annotations

from poise.lab.figure import Figure

__all__ = ["FIGURES"]

FIGURES: dict[str, type[Figure]] = {}
