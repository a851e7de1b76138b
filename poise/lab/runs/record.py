"""What is known of one run, wherever it was read from: the figures draw it, the pages list it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from poise.lab.loss_plot import Points
from poise.study.course import Losses
from poise.study.result import StudyResult, Trial

__all__ = ["Curves", "RunRecord", "Status"]

Status = Literal["running", "finished", "interrupted", "stopped", "unreadable", "log"]
"""How a run stands; "stopped" is a study that ended without a result."""

HIGHER = {"acc", "accuracy", "auc", "auroc", "ap", "f1", "iou", "precision", "r2", "recall", "top1", "top5"}


@dataclass(frozen=True)
class Curves:
    """One measure of one network over its training, on the rows it was fitted to and on others; either may be empty.

    `kept` is the step whose weights were kept, where the run says so.
    """

    name: str
    train: Points
    valid: Points
    kept: float | None = None
    across: str = "step"

    @property
    def lower_is_better(self) -> bool:
        """Whether the measure is an error; by its name, as logs do not say."""
        return not HIGHER & set(self.name.lower().replace("/", "_").replace("-", "_").split("_"))


@dataclass(frozen=True)
class RunRecord:
    """A study (finished or not) or a log. `words` says in a sentence what cannot be read, "" if all can."""

    id: str
    name: str
    place: str  # as shown to the reader: relative to the folder that was given
    source: str  # as a script of the reader's opens it; "" if it is at hand
    kind: Literal["study", "log"]
    status: Status
    started: float  # seconds since 1970; 0 if not known
    changed: float
    words: str = ""
    result: StudyResult | None = None  # of a study that has ended
    trials: tuple[Trial, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)  # of a study that runs: table, target, budget, ...
    phase: str = ""  # what it is doing
    share: float = 0.0  # of its budget that is spent
    losses: tuple[Losses, ...] = ()  # of the search's networks
    curves: tuple[Curves, ...] = ()
    model: Path | None = None  # the folder with the weights; read when a figure wants them
    weights: Mapping[str, Tensor] | None = None  # given instead of a folder, as of a run in a notebook
