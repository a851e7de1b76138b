"""A study: from a table to a regularized ensemble, with the gap before and after, and what each part was worth."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from torch import nn

from poise.core.errors import ArgumentError, PoiseWarning, shown
from poise.core.recipe import Recipe
from poise.data.arguments import choice
from poise.data.target import Task
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Plan
from poise.study.compare import compare
from poise.study.course import COURSE, Course
from poise.study.design import NetworkDesign
from poise.study.device import device_of
from poise.study.epochs import few_epochs
from poise.study.fit import Fitted, Settings, fit
from poise.study.folder import free_folder, made_folder
from poise.study.gap import model_of
from poise.study.measured import Measured, measured
from poise.study.metrics import metrics_of
from poise.study.model import StudyModel
from poise.study.outcome import outcome_of, with_truth
from poise.study.prepare import Prepared
from poise.study.progress import Progress, Quiet
from poise.study.recording import Recording
from poise.study.report import write_report
from poise.study.result import Arm, StudyResult, result_to_json
from poise.study.search import METHODS, SEARCH_HINT
from poise.study.source import Arguments
from poise.study.source_own import Own
from poise.study.sources import source_of
from poise.study.space import Space
from poise.study.store import write_text_atomic
from poise.study.workers import default_jobs

__all__ = ["Study"]

# Shares of the budget at which the retraining and the ablation end; what is left is for baselines and the report.
_FIT, _ABLATION = 0.58, 0.88
_LATEST = 0.95  # an ablation that takes longer than planned ends here, all arms at one step


class Study:
    """Search, ablate, compare and report on one table, or on labelled images.

    `source`: a path, frame, array or the name of a bundled table, as `poise.data.read` takes it; or a folder of images,
    an .npz or IDX file, as `poise.data.read_images` takes it, or what that returned. `target`: the column
    to predict, or several, which one network then learns together; a row may lack some of them. `budget`: "2m", "90s"
    or "50trials"; the search, retraining, ablation and baselines share it. `device`: where networks train,
    "cpu" ("auto" is the same), "cuda" or "cuda:1". `out`: the folder to write, or None to write
    nothing. `groups`, `time`: columns that rows must not be divided across, or must be divided along; neither is a
    feature. `task`: of all targets, or {target: task}. `parts`: names of regularizers to search. `class_weight`:
    "balanced" (rare classes weigh more in loss and decision; probabilities are corrected back) or None. `search`:
    "halving", or "pbt" (weights and dials are inherited). `design`: the network, a `Design` or an `ImageDesign`. Of
    images alone: `per_class` cuts what is developed on to so many of each class; `size`, `bad_images`, `cache` are
    `read_images`'s `size`, `bad` and `cache`. Of texts alone (a .txt, .md or .rst file, no target; or what
    `poise.data.text.read_text` returned): `characters` are used, all of 300,000 if None. `network`, `width`, `depth`
    and `window` are fields of the design, told without one.

    Or of a network of your own, without `source`: `model` is a function that returns a new nn.Module at each call,
    `data` a map-style torch data set of (x, y), arrays (x, y), or two data sets (train, test).

    Raises: ArgumentError, DataError, StudyError, each naming what and where, before any work is done.

    >>> from poise.study import Study
    >>> result = Study("diabetes", budget="3trials", ablation=False).run()
    >>> result.task, result.rows["test"]
    ('regression', 88)
    """

    def __init__(
        self,
        source: object = None,
        *,
        model: Callable[[], nn.Module] | None = None,
        data: object = None,
        target: str | Sequence[str] | None = None,
        budget: str | float = "2m",
        out: str | Path | None = None,
        seed: int = 0,
        device: str = "auto",
        groups: str | None = None,
        time: str | None = None,
        task: Task | Mapping[str, Task] | None = None,
        parts: Sequence[str] | None = None,
        ablation: bool = True,
        class_weight: Literal["balanced"] | None = "balanced",
        jobs: int | None = None,
        search: str = "halving",
        progress: Progress | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        design: NetworkDesign | None = None,
        per_class: int | None = None,
        size: int | tuple[int, int] | None = None,
        bad_images: str = "skip",
        cache: str | Path | None = None,
        characters: int | None = None,
        network: str | None = None,
        window: int | None = None,
        width: int | None = None,
        depth: int | None = None,
    ) -> None:
        self.budget = parse_budget(budget)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            # NumPy's and scikit-learn's generators take no more than 32 bits.
            raise ArgumentError(f"`Study.seed` must be an int in 0 .. 4294967295; got {shown(seed)}.")
        if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
            raise ArgumentError(f"`Study.jobs` must be None or an int >= 1; got {shown(jobs)}. None takes every core.")
        for asked in task.values() if isinstance(task, Mapping) else [task]:
            if asked not in (None, "classification", "regression"):
                raise ArgumentError(
                    f"`Study.task` must be classification or regression; got {shown(asked)}. "
                    "None decides by the values."
                )
        self.device = device_of("Study.device", device)
        choice("Study.search", search, tuple(METHODS), SEARCH_HINT)
        if class_weight not in (None, "balanced"):
            raise ArgumentError(f"`Study.class_weight` must be None or 'balanced'; got {shown(class_weight)}.")
        self.out = None if out is None else free_folder(Path(out))
        told = Arguments(
            target, groups, time, task, encoding, delimiter, per_class, size, design, class_weight, bad_images, cache,
            characters, network, window, width, depth,
        )  # fmt: skip
        self.source = source_of(_given(source, model, data), told)
        Space(parts, choices=self.source.choices)
        self.seed, self.parts, self.ablation, self.search = seed, parts, ablation, search
        quick = self.budget.seconds < 15 or self.budget.trials <= 30
        self.jobs = jobs or (1 if quick or self.device != "cpu" else default_jobs())
        self.progress: Progress = progress or Quiet()
        self._course: Course | None = None
        self._notes: tuple[str, ...] = ()
        self.model: StudyModel | None = None
        self.recipe: Recipe | None = None
        self.result: StudyResult | None = None
        self.predictions: pd.DataFrame | None = None

    def run(self) -> StudyResult:
        """Run the study and write its folder. Ctrl-C ends the phase at hand and still writes the best so far."""
        clock = Clock(self.budget)
        title = f"poise study {self.source.name}"
        timed = math.isfinite(self.budget.seconds)
        self.progress.start(self.budget.seconds if timed else None, None if timed else int(self.budget.trials), title)
        record: Recording | None = None
        try:
            self._tell("reading and encoding", None, 0.0)
            ready = self.source.prepare(self.seed)
            # Only now: data that cannot be used leaves nothing behind.
            if self.out is not None:
                record = Recording(made_folder(self.out) / "record.sqlite")
                self._course = Course(self.out / COURSE)
                self._course.begin(self._facts(ready))
            return self._run(ready, clock, record)
        finally:
            self.progress.stop()
            if record is not None:
                record.close()
            if self._course is not None:
                self._course.close()

    def _tell(self, message: str, best: float | None, share: float) -> None:
        self.progress.tell(message, best, share)
        if self._course is not None:
            self._course.phase(message, best, share)

    def _facts(self, ready: Prepared) -> dict[str, object]:
        metric = metrics_of(ready.targets)[0]
        target = ", ".join(one.name for one in ready.targets)
        facts = {"table": self.source.name, "target": target, "budget": self.budget.text, "seed": self.seed}
        return facts | {"metric": metric.label, "lower_is_better": metric.lower_is_better}

    def _run(self, ready: Prepared, clock: Clock, record: Recording | None) -> StudyResult:
        self._notes = ()
        classes = any(head.classes for head in ready.problem.heads)
        several = len(ready.problem.heads) > 1
        space = Space(self.parts, classification=classes, several=several, choices=self.source.choices)
        settings = Settings(
            self.seed,
            self.jobs,
            tell=lambda message, best, share: self._tell(message, best, share * _FIT),
            on_trials=lambda trials: record.add(trials) if record is not None else None,
            on_plan=self._warn_of_few_epochs,
            watcher=self._course,
            folds=self.source.folds,
            search=self.search,
            device=self.device,
        )
        inner = Clock(
            type(self.budget)(self.budget.seconds * _FIT, self.budget.trials, self.budget.text), clock.started
        )
        fitted = fit(ready.problem, ready.strata, space, inner, settings, groups=ready.groups, time=ready.time)
        ready = dataclasses.replace(ready, problem=fitted.problem)
        self.model = self._model(ready, space, fitted)
        self.recipe = space.recipe_of(fitted.best)
        worth = Measured(interrupted=True)
        if not fitted.interrupted:
            worth = measured(
                ready, space, fitted, clock, (_FIT, _ABLATION, _LATEST), ablation=self.ablation, seed=self.seed,
                jobs=self.jobs, tell=lambda message, share: self._tell(message, None, share),
            )  # fmt: skip
            self._notes += worth.notes
        interrupted = worth.interrupted
        compared: tuple[Arm, ...] = ()
        try:
            compared = compare(
                ready,
                fitted,
                self.model,
                clock,
                self.seed,
                lambda message: self._tell(message, None, _ABLATION),
                plain=not interrupted,
            )
        except KeyboardInterrupt:
            interrupted = True
        self.result = outcome_of(
            dataclasses.replace(ready, warnings=(*ready.warnings, *self._notes, *fitted.notes)),
            fitted,
            self.recipe,
            self.model,
            worth,
            compared,
            budget=self.budget.text,
            seconds=clock.spent(),
            seed=self.seed,
            interrupted=interrupted,
        )
        self._write(ready)
        return self.result

    def _warn_of_few_epochs(self, plan: Plan, rows: int) -> None:
        note = few_epochs(plan, rows, self.source.advice) if self.source.advice else ""
        if note:
            self._notes = (*self._notes, note)
            warnings.warn(note, PoiseWarning, stacklevel=2)

    def _model(self, ready: Prepared, space: Space, fitted: Fitted) -> StudyModel:
        structure = Recipe(*space.recipe.stage("network"))
        return model_of(ready, fitted.stack, fitted.shares, fitted.temperatures, structure)

    def _write(self, ready: Prepared) -> None:
        assert self.model is not None
        assert self.recipe is not None
        assert self.result is not None
        found = self.model.frame_of(ready.inputs[ready.parts.test], ready.table.frame.index[ready.parts.test])
        self.predictions = with_truth(ready, found)
        if self.out is None:
            return
        self._tell("writing the report", None, 1.0)
        self.model.save(self.out / "model")
        write_text_atomic(self.out / "recipe.yaml", self.recipe.to_yaml())
        write_text_atomic(self.out / "predictions.csv", self.predictions.to_csv(index=False))
        write_text_atomic(self.out / "result.json", result_to_json(self.result))
        write_report(self.result, self.out / "report.html")


def _given(source: object, model: object, data: object) -> object:
    """Return what the study is of: a source, or a network of your own with its data."""
    if model is None and data is None:
        if source is None:
            raise ArgumentError(
                "`Study.source` must be a table, images or a text; got None. Give it, or `model` and `data`."
            )
        return source
    if source is not None or model is None or data is None:
        told = {"source": source, "model": model, "data": data}
        raise ArgumentError(
            "`Study` must be given a source, or `model` and `data` together; got "
            f"{' and '.join(name for name, value in told.items() if value is not None)}."
        )
    return Own(model, data)
