"""The figures of the chapter, by id, in reading order."""

from __future__ import annotations

from poise.lab.base import Figure
from poise.lab.figures.augment import Augment
from poise.lab.figures.batchnorm import BatchNormFigure
from poise.lab.figures.constraint import Constraint
from poise.lab.figures.decay_heat import DecayHeat
from poise.lab.figures.dropout import DropoutFigure
from poise.lab.figures.ensemble import EnsembleFigure
from poise.lab.figures.mixing import Mixing
from poise.lab.figures.multitask import MultiTaskFigure
from poise.lab.figures.noise import Noise
from poise.lab.figures.path import Path
from poise.lab.figures.poly import Poly
from poise.lab.figures.sharing import Sharing
from poise.lab.figures.smoothing import Smoothing
from poise.lab.figures.snapshots import Snapshots
from poise.lab.figures.stopping import Stopping
from poise.lab.figures.weights import Weights
from poise.lab.figures.where_table import WhereTable
from poise.lab.figures.which_one import WhichOne

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
    Augment,
    Mixing,
    BatchNormFigure,
    Sharing,
    MultiTaskFigure,
    EnsembleFigure,
    Snapshots,
    WhichOne,
    WhereTable,
)
FIGURES: dict[str, type[Figure]] = {figure.id: figure for figure in _EVERY}
"""Every figure of the chapter."""
"""Every figure of the chapter, in reading order."""
