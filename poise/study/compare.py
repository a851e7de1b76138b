"""The comparison on the untouched test rows: baselines beside the study's own products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from poise.study.baselines import TRAININGS, boosting, plain_networks
from poise.study.clock import Clock
from poise.study.cohort import Plan
from poise.study.fit import Fitted
from poise.study.gap import model_of, predictions_of
from poise.study.metrics import METRICS, Predictions, bootstrap
from poise.study.prepare import Prepared
from poise.study.result import Arm, Score
from poise.study.table_model import TableModel

__all__ = ["compare"]


def compare(
    ready: Prepared,
    fitted: Fitted,
    model: TableModel,
    clock: Clock,
    seed: int,
    tell: Callable[[str], None],
    *,
    plain: bool,
) -> tuple[Arm, ...]:
    """Score the baselines and the study's own products on the untouched test rows."""
    test = ready.parts.test
    arms = []

    def add(name: str, found: Predictions, seconds: float, note: str) -> None:
        metrics = METRICS[ready.target.task]
        scores = tuple(Score(m.name, bootstrap(m.name, found, seed)[0]) for m in metrics)
        arms.append(Arm(name, scores, seconds, note))

    if plain:
        tell("training the baselines")
        began = clock.spent()
        plan = fitted.plan
        room = int((clock.left() * 0.6) / max(1e-9, fitted.rate * TRAININGS)) if fitted.rate else plan.steps
        plan = Plan(min(plan.steps, max(60, room)), plan.batch, plan.every)
        plain_stacks = plain_networks(ready.problem, fitted.folds, plan, seed)
        took = clock.spent() - began
        for name, stack in plain_stacks.items():
            note = "3 learning rates" if name.startswith("unreg") else "4 rates x 3 learning rates"
            note += f", {plan.steps} steps, the best on validation; both families trained as one population"
            if plan.steps < fitted.plan.steps:
                # Stopping after few steps is a regularizer too: a reader must know that this one was forced.
                note += f"; cut short by the budget (the recipe was searched with {fitted.plan.steps} steps)"
            add(name, predictions_of(ready, model_of(ready, stack), test), took, note)
    began = clock.spent()
    raw = boosting(ready.problem, ready.codes[ready.development], ready.inputs[test], seed)
    note = "scikit-learn's, up to 300 trees" + (", class-weighted" if ready.problem.class_weights is not None else "")
    add("gradient boosting", _of_boosting(ready, raw, test), clock.spent() - began, note)
    spent = clock.spent()
    add("poise network", predictions_of(ready, model.single(0), test), spent, "the best recipe, one network")
    many = f"{len(fitted.stack)} networks of {len(fitted.chosen)} recipes"
    add("poise ensemble", predictions_of(ready, model, test), spent, many)
    return tuple(arms)


def _of_boosting(ready: Prepared, raw: np.ndarray, rows: np.ndarray) -> Predictions:
    if not ready.problem.classes:
        truth = np.asarray(ready.target.decode(ready.codes[rows]), dtype=np.float64)
        return Predictions(truth, np.asarray(ready.target.decode(raw), dtype=np.float64))
    weights, decision = ready.problem.class_weights, ready.problem.decision_weights
    chances = raw if weights is None else raw / weights.double().numpy()
    chances = chances / chances.sum(1, keepdims=True)
    decided = (chances if decision is None else chances * decision).argmax(1)
    return Predictions(ready.codes[rows], decided, chances)
