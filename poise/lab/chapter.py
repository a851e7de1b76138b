"""The chapter, in reading order."""

from __future__ import annotations

from poise.lab.section import Section
from poise.lab.sections import choosing, combining, data, fitting, noise, normalisation, penalties, stopping

__all__ = ["CHAPTER"]

CHAPTER: tuple[Section, ...] = (
    fitting.SECTION,
    penalties.SECTION,
    stopping.SECTION,
    noise.SECTION,
    data.SECTION,
    normalisation.SECTION,
    combining.SECTION,
    choosing.SECTION,
)
"""The sections; their figures stand between their paragraphs."""
