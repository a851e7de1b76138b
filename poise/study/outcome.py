"""Everything that a study measured, gathered into one result."""

from __future__ import annotations

import platform
import sys

import numpy as np
import pandas as pd
import torch

import poise
from poise.core.errors import shown
from poise.core.recipe import Recipe
from poise.data import Target
from poise.study.ablation import FULL, NOTHING
from poise.study.answers_seen import calibration_of, confusion_of
from poise.study.finding import finding
from poise.study.fit import Fitted
from poise.study.gap import curve_of, gaps_of, predictions_of, unmeasured
from poise.study.labels import is_known
from poise.study.measured import Measured
from poise.study.metrics import metrics_of
from poise.study.model import StudyModel
from poise.study.pictures import pictures_of
from poise.study.prepare import Prepared
from poise.study.result import Arm, Curve, Gap, StudyResult, TargetFacts

__all__ = ["outcome_of", "with_truth"]


def outcome_of(
    ready: Prepared,
    fitted: Fitted,
    recipe: Recipe,
    model: StudyModel,
    worth: Measured,
    compared: tuple[Arm, ...],
    *,
    budget: str,
    seconds: float,
    seed: int,
    interrupted: bool,
) -> StudyResult:
    """Return the result, the gaps of the ablation's arms in it, with its finding written out."""
    before: tuple[Gap, ...] = ()
    after: tuple[Gap, ...] = ()
    curves: tuple[Curve, ...] = ()
    if (arms := worth.arms) is not None:
        before, after = (gaps_of(ready, fitted.folds, arms, label, seed) for label in (NOTHING, FULL))
        curves = tuple(curve_of(name, arms, label) for name, label in (("before", NOTHING), ("after", FULL)))
    several, notes = len(ready.targets) > 1, ready.warnings
    if arms is not None and several and (lacking := unmeasured(ready, fitted.folds, arms)):
        told = f"the gap in mean loss leaves out {shown(list(lacking), 200)}"
        notes += (f"{told}: some fold has no label of it to learn or to choose by.",)
    seen = predictions_of(ready, model, ready.parts.test)
    result = StudyResult(
        table=ready.table.name,
        target=", ".join(target.name for target in ready.targets),
        task="several targets" if several else ready.targets[0].task,
        classes=() if several else _classes(ready.targets[0]),
        rows={
            "train": int(fitted.folds.train.shape[1]),
            "stop": int(fitted.folds.stop[0].sum()),
            "validation": int(fitted.folds.validation[0].sum()),
            "test": len(ready.parts.test),
        },
        columns=dict(ready.columns),
        warnings=notes,
        metrics=metrics_of(ready.targets),
        before=before,
        after=after,
        contributions=worth.parts,
        curves=curves,
        trials=tuple(fitted.trials),
        arms=compared,
        ensemble_size=len(fitted.stack),
        finding="",
        recipe_yaml=recipe.to_yaml(),
        receipt=recipe.explain(ready.problem.builder()()),
        budget=budget,
        seconds=seconds,
        seed=seed,
        interrupted=interrupted,
        versions={
            "poise": poise.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "platform": sys.platform,
        },
        targets=_facts(ready) if several else (),
        together=worth.pairs,
        confusion=confusion_of(seen, len(ready.targets[0].labels)),
        calibration=calibration_of(seen),
        pictures=pictures_of(ready, recipe, seed),
        strengths=worth.strengths,
        structure=fitted.structure,
        early=fitted.early,
        longer=fitted.longer,
    )
    return finding(result, recipe)


def _classes(target: Target) -> tuple[str, ...]:
    return tuple(str(label) for label in target.labels)


def _facts(ready: Prepared) -> tuple[TargetFacts, ...]:
    return tuple(
        TargetFacts(target.name, target.task, _classes(target), int(is_known(codes).sum()))
        for target, codes in zip(ready.targets, ready.codes, strict=True)
    )


def with_truth(ready: Prepared, predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the test rows' predictions with `row` and `truth`; of several targets, `NAME truth` beside each.

    Where rows have names, as pictures have, the name stands beside the row.
    """
    values = ready.table.targets
    assert values is not None
    found = predictions.copy()
    for name in values:
        title = "" if len(values.columns) == 1 else f"{name} "
        # A text is not predicted as a whole: it stands before what its characters cost.
        place = list(found).index(f"{title}prediction") if f"{title}prediction" in found else 0
        found.insert(place, f"{title}truth", values[name].iloc[ready.parts.test].to_numpy())
    if ready.names is not None:
        found.insert(0, ready.names, ready.table.frame[ready.names].iloc[ready.parts.test].to_numpy())
    found.insert(0, "row", ready.origin[ready.parts.test])
    return found
