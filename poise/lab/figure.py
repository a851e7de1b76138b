"""Moved to `poise.lab.base`: `poise.lab.figure` is the function of notebooks. Nothing may import this file."""

from poise.lab.base import Figure

__all__ = ["Figure"]
