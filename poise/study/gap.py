"""The generalization gap of trained networks: scores on train, validation and test rows, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from poise.core.recipe import Recipe
from poise.data import Target
from poise.study.answer import Answer
from poise.study.arms import Arms
from poise.study.folds import Folds
from poise.study.labels import is_known
from poise.study.metrics import (
    MEAN_LOSS,
    Found,
    Predictions,
    Several,
    bootstrap,
    measure,
    metrics_of,
    over_seeds,
    range_of,
)
from poise.study.model import StudyModel
from poise.study.prepare import Prepared
from poise.study.problem import AnyHead
from poise.study.result import Curve, Gap, Interval, Metric
from poise.study.text_scores import read_windows
from poise.train.stack import Stack

__all__ = ["answers_of", "arm_of", "curve_of", "gaps_of", "model_of", "predictions_of", "together", "unmeasured"]


def model_of(
    ready: Prepared,
    stack: Stack,
    shares: torch.Tensor | None = None,
    temperatures: Sequence[float] | None = None,
    structure: Recipe | None = None,
) -> StudyModel:
    """Return a model of the stack; without `shares` its members count alike, without `temperatures` they are 1."""
    problem = ready.problem
    even = torch.full((len(stack),), 1 / len(stack)) if shares is None else shares
    answers = answers_of(ready.targets, problem.heads, temperatures or (1.0,) * len(problem.heads))
    return StudyModel(stack, even, answers, ready.encoder, structure or Recipe(), problem.design, problem.edges())


def arm_of(ready: Prepared, arms: Arms, member: int) -> StudyModel:
    """Return a model of one network of the arms, with its temperature."""
    temperatures = (arms.temperatures[member], *[1.0] * (len(ready.problem.heads) - 1))
    return model_of(ready, arms.stack.select(torch.tensor([member])), temperatures=temperatures)


def answers_of(
    targets: Sequence[Target], heads: Sequence[AnyHead], temperatures: Sequence[float]
) -> tuple[Answer, ...]:
    """Return how the outputs of a problem's heads become predictions."""
    return tuple(
        Answer(
            target,
            temperature,
            None if head.class_weights is None else head.class_weights.double().numpy(),
            head.decision_weights,
        )
        for target, head, temperature in zip(targets, heads, temperatures, strict=True)
    )


def predictions_of(ready: Prepared, model: StudyModel, rows: np.ndarray) -> Found:
    """Return a model's predictions on rows of the table, by position."""
    if ready.targets[0].task == "text":
        return read_windows(model.stack, model.shares, ready.inputs[rows])
    outputs = model.outputs(ready.inputs[rows])

    def own(place: int, known: np.ndarray) -> Predictions:
        answer, held = model.answers[place], outputs[place][:, torch.from_numpy(known)]
        truth = ready.codes[place][rows][known]
        if answer.classes:
            chances = answer.probabilities(held, model.shares)
            return Predictions(truth, answer.decide(chances), chances)
        amounts = np.asarray(answer.target.decode(truth), dtype=np.float64)
        return Predictions(amounts, answer.values(held, model.shares), scale=answer.target.scale)

    return together(ready, rows, own)


def together(ready: Prepared, rows: np.ndarray, own: Callable[[int, np.ndarray], Predictions]) -> Predictions | Several:
    """Return the predictions of the only target, or of all; `own` makes those of one, of the rows that know it."""
    known = {target.name: is_known(codes[rows]) for target, codes in zip(ready.targets, ready.codes, strict=True)}
    parts = {name: own(place, held) for place, (name, held) in enumerate(known.items())}
    return Several(parts, known) if len(parts) > 1 else parts[ready.targets[0].name]


def unmeasured(ready: Prepared, folds: Folds, arms: Arms) -> tuple[str, ...]:
    """Return the targets that some part of a fold of the arms has no label of: no gap of their mean loss is known."""
    parts = [rows for fold in sorted(set(arms.fold)) for rows in _places(ready, folds, fold).values()]
    return tuple(
        target.name
        for target, codes in zip(ready.targets, ready.codes, strict=True)
        if not all(is_known(codes[rows]).any() for rows in parts)
    )


def _places(ready: Prepared, folds: Folds, fold: int) -> dict[str, np.ndarray]:
    """Return the rows of the three parts that a gap is between."""
    return {
        "train": ready.development[folds.train[fold].numpy()],
        "validation": ready.development[folds.validation[fold].numpy() > 0],
        "test": ready.parts.test,
    }


def gaps_of(ready: Prepared, folds: Folds, arms: Arms, label: str, seed: int) -> tuple[Gap, ...]:
    """Return the gap of one arm for each metric: rows by bootstrap for the first seed, and the mean over seeds.

    The mean loss of several targets is that of those which all parts have labels of, as a gap is between like and like.
    """
    lacking = unmeasured(ready, folds, arms)
    held = [target.name for target in ready.targets if target.name not in lacking] or [
        one.name for one in ready.targets
    ]

    def of_held(metric: Metric, seen: Found) -> Found:
        return seen.only(held) if metric == MEAN_LOSS and isinstance(seen, Several) else seen

    found: list[dict[str, Found]] = []
    for member, fold in zip(arms.members(label), arms.fold, strict=True):
        model = arm_of(ready, arms, member)
        places = _places(ready, folds, fold)
        found.append({name: predictions_of(ready, model, rows) for name, rows in places.items()})
    gaps = []
    for metric in metrics_of(ready.targets):
        sign = 1.0 if metric.lower_is_better else -1.0
        parts = {name: bootstrap(metric.name, of_held(metric, own), seed + place)
                 for place, (name, own) in enumerate(found[0].items())}  # fmt: skip
        apart = sign * (parts["test"][1] - parts["train"][1])
        value = sign * (parts["test"][0].value - parts["train"][0].value)
        tests = [measure(metric.name, of_held(metric, own["test"])) for own in found]
        trains = [measure(metric.name, of_held(metric, own["train"])) for own in found]
        gaps.append(
            Gap(
                metric.name,
                parts["train"][0],
                parts["validation"][0],
                parts["test"][0],
                Interval(value, *range_of(apart)),
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
