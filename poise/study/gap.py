"""The generalization gap of trained networks: scores on train, validation and test rows, with intervals."""

from __future__ import annotations

import numpy as np
import torch

from poise.core.recipe import Recipe
from poise.study.arms import Arms
from poise.study.folds import Folds
from poise.study.metrics import METRICS, Predictions, bootstrap, measure, over_seeds
from poise.study.prepare import Prepared
from poise.study.result import Curve, Gap, Interval
from poise.study.table_model import TableModel
from poise.train.stack import Stack

__all__ = ["curve_of", "gaps_of", "model_of", "predictions_of"]


def model_of(
    ready: Prepared,
    stack: Stack,
    shares: torch.Tensor | None = None,
    temperature: float = 1.0,
    structure: Recipe | None = None,
) -> TableModel:
    """Return a model of the stack; without `shares` its members count alike."""
    weights = ready.problem.class_weights
    even = torch.full((len(stack),), 1 / len(stack)) if shares is None else shares
    return TableModel(
        stack,
        even,
        temperature,
        None if weights is None else weights.double().numpy(),
        ready.problem.decision_weights,
        ready.encoder,
        ready.target,
        structure or Recipe(),
        ready.problem.design,
        ready.problem.edges(),
    )


def predictions_of(ready: Prepared, model: TableModel, rows: np.ndarray) -> Predictions:
    """Return a model's predictions on rows of the table, by position."""
    inputs = ready.inputs[rows]
    if ready.problem.classes:
        chances = model.probabilities(inputs)
        return Predictions(ready.codes[rows], model.decide(chances), chances)
    truth = np.asarray(ready.target.decode(ready.codes[rows]), dtype=np.float64)
    return Predictions(truth, model.values(inputs))


def gaps_of(ready: Prepared, folds: Folds, arms: Arms, label: str, seed: int) -> tuple[Gap, ...]:
    """Return the gap of one arm for each metric: rows by bootstrap for the first seed, and the mean over seeds."""
    found: list[dict[str, Predictions]] = []
    for member, fold in zip(arms.members(label), arms.fold, strict=True):
        model = model_of(ready, arms.stack.select(torch.tensor([member])))
        places = {
            "train": ready.development[folds.train[fold].numpy()],
            "validation": ready.development[folds.validation[fold].numpy() > 0],
            "test": ready.parts.test,
        }
        found.append({name: predictions_of(ready, model, rows) for name, rows in places.items()})
    gaps = []
    for metric in METRICS[ready.target.task]:
        sign = 1.0 if metric.lower_is_better else -1.0
        parts = {name: bootstrap(metric.name, own, seed + place)
                 for place, (name, own) in enumerate(found[0].items())}  # fmt: skip
        apart = sign * (parts["test"][1] - parts["train"][1])
        value = sign * (parts["test"][0].value - parts["train"][0].value)
        low, high = np.nanpercentile(apart, [2.5, 97.5])
        tests = [measure(metric.name, own["test"]) for own in found]
        trains = [measure(metric.name, own["train"]) for own in found]
        gaps.append(
            Gap(
                metric.name,
                parts["train"][0],
                parts["validation"][0],
                parts["test"][0],
                Interval(value, float(low), float(high)),
                over_seeds([sign * (b - a) for a, b in zip(trains, tests, strict=True)]),
                over_seeds(tests),
                len(found),
            )
        )
    return tuple(gaps)


def curve_of(name: str, arms: Arms, label: str) -> Curve:
    """Return the loss curves of an arm's first seed; its validation loss is that of the rows that stopping watches."""
    rows = arms.history[label]
    steps, train, stop = zip(*rows, strict=True) if rows else ((), (), ())
    best = int(arms.best_step[arms.labels.index(label), 0])
    return Curve(name, tuple(steps), tuple(train), tuple(stop), best)
