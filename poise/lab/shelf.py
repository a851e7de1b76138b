"""All figures and sections that the lab shows when nothing else is asked for."""

from poise.lab.chapter import CHAPTER
from poise.lab.figures import FIGURES

__all__ = ["CHAPTER", "FIGURES"]
