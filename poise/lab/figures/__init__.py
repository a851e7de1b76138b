"""The figures of the chapter, by id, in reading order."""

from __future__ import annotations

from poise.lab.figure import Figure
from poise.lab.figures.constraint import Constraint
from poise.lab.figures.decay_heat import DecayHeat
from poise.lab.figures.dropout import DropoutFigure
from poise.lab.figures.noise import Noise
from poise.lab.figures.path import Path
from poise.lab.figures.poly import Poly
from poise.lab.figures.smoothing import Smoothing
from poise.lab.figures.stopping import Stopping
from poise.lab.figures.weights import Weights

__all__ = ["FIGURES"]

_EVERY: tuple[type[Figure], ...] = (
    Poly,
    Weights,
    Path,
    Constraint,
    DecayHeat,
    Stopping,
    DropoutFigure,
    Smoothing,
    Noise,
)
FIGURES: dict[str, type[Figure]] = {figure.id: figure for figure in _EVERY}
