"""The chapter, in reading order."""

from __future__ import annotations

from poise.lab.section import Section

__all__ = ["CHAPTER"]

CHAPTER: tuple[Section, ...] = ()
