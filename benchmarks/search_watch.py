"""What `search.py` notes while a search runs, by one rule for both arms, and what it makes of it afterwards.

At each evaluation, a configuration counts with the weights that early stopping keeps for it: their loss on the
validation rows, the mean over folds. Where that is its best so far, and among the worker's ten best, the time, the loss
and the kept networks' outputs on the validation and test rows are written down. The test rows take part in nothing.
"""

from __future__ import annotations

import math
import os
import pickle
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from poise.core.context import Batch
from poise.study.bracket import Candidate
from poise.study.cohort import Cohort, Plan
from poise.study.ensemble import Library
from poise.study.prepare import Prepared
from poise.study.space import Config

__all__ = ["Event", "Notes", "alone", "ensembles", "test_rows"]

TOP = 10
PLAN = Plan(1, 1, 1)  # of a candidate that is only looked at


@dataclass(frozen=True)
class Event:
    """A configuration's new best: seconds since the start, validation loss, outputs (N, W) and (folds, n, W)."""

    seconds: float
    number: int
    score: float
    held: Tensor  # on the development rows, NaN where no fold held one out
    test: Tensor  # of each fold's network on the test rows


@dataclass
class Notes:
    """Writes events to a file of the process; goes to worker processes by pickle."""

    folder: Path
    began: float
    inputs: Tensor  # of the test rows
    known: dict[int, float] = field(default_factory=dict)

    def counts(self, number: int, score: float) -> bool:
        """Whether a configuration's loss is its best so far and among the ten best; if so it is remembered."""
        if not score < self.known.get(number, math.inf):
            return False
        self.known[number] = score
        return score <= sorted(self.known.values())[:TOP][-1]

    def write(self, number: int, score: float, held: Tensor, test: Tensor) -> None:
        """Add an event."""
        event = (time.time() - self.began, number, score, held.half().numpy(), test.half().numpy())
        with (self.folder / str(os.getpid())).open("ab") as file:
            pickle.dump(event, file)

    def evaluated(self, cohort: Cohort) -> None:
        """Look at a cohort of poise's search after an evaluation."""
        own = _OF_PROCESS.setdefault(self.folder, self)  # a worker gets a new copy with each bracket
        scores, outputs = cohort.validation()
        new = [place for place, c in enumerate(cohort.configs) if own.counts(c.number, float(scores[place]))]
        if not new:
            return
        answers = partial(cohort.population.outputs, best=True)(self.inputs)
        owner = torch.tensor(cohort.owner)
        for place in new:
            number = cohort.configs[place].number
            own.write(number, float(scores[place]), outputs[place], answers[owner == place])

    def events(self) -> list[Event]:
        """Return what all processes have written, in order of time."""
        found = []
        for path in self.folder.iterdir():
            with path.open("rb") as file:
                while True:
                    try:
                        when, number, score, held, test = pickle.load(file)
                    except EOFError:
                        break
                    held, test = torch.from_numpy(held).float(), torch.from_numpy(test).float()
                    found.append(Event(when, number, score, held, test))
        return sorted(found, key=lambda event: event.seconds)


_OF_PROCESS: dict[Path, Notes] = {}


def test_rows(ready: Prepared) -> tuple[Tensor, Tensor]:
    """Return the inputs (n, F) and targets (n, W) of the test rows."""
    rows = ready.parts.test
    targets, _ = ready.problem.heads[0].encode(ready.codes[0][rows])
    return torch.from_numpy(np.ascontiguousarray(ready.inputs[rows], dtype=np.float32)), targets


def alone(ready: Prepared, events: list[Event]) -> list[list[float]]:
    """Return the course of the best single configuration: [seconds, validation loss, test loss] of each new best."""
    _, targets = test_rows(ready)
    best, course = math.inf, []
    for event in events:
        if event.score < best:
            best = event.score
            count, problem = len(event.test), ready.problem
            held = torch.isfinite(event.held).all(-1)
            weights = torch.ones(1, int(held.sum()))
            # One temperature, of the held-out rows, as the recipe would have it.
            found = problem.heads[0].temperatures(event.held[held][None], problem.rows.targets[held], weights)
            batch = Batch(None, targets.expand(count, *targets.shape), torch.ones(count, len(targets)))
            course.append([event.seconds, best, float(problem.score(event.test / found, batch).mean())])
    return course


def ensembles(ready: Prepared, events: list[Event], points: int = 40) -> list[list[float]]:
    """Return the course of the ensemble selected at `points` times: [seconds, validation loss, test loss].

    It is chosen among the best forty configurations known at the time, as a study's is; the time that the choice takes
    is added to its point's. A test loss is the mean over folds of the ensemble of that fold's networks.
    """
    _, targets = test_rows(ready)
    if not events:
        return []
    first, last = max(events[0].seconds, 0.1), events[-1].seconds
    course, problem = [], ready.problem
    for now in np.geomspace(first, max(last, first), points):
        latest = {event.number: event for event in events if event.seconds <= now + 1e-6}
        best = sorted(latest.values(), key=lambda event: event.score)
        if not best:
            continue
        began = time.process_time()
        config = Config(0, {}, 1.0, ())
        library = Library(problem, [Candidate(config, one.score, one.held, 1, PLAN) for one in best])
        shares = library.shares(0)
        took = time.process_time() - began
        loss = float(library.loss(library.mean(shares)[None], torch.arange(len(library))))
        mean = sum(share * problem.answers(best[place].test) for place, share in shares.items())
        assert isinstance(mean, Tensor)
        temperatures = library.temperatures(library.mean(shares))
        test = float(problem.answer_score(mean, targets, torch.ones(len(targets)), temperatures).mean())
        course.append([float(now) + took, loss, test])
    return course
