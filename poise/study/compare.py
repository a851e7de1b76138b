"""The comparison on the untouched test rows: baselines beside the study's own products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from poise.core.errors import counted
from poise.data.characters import CharacterEncoder
from poise.study.baselines import boosting, plain_families, plain_networks
from poise.study.clock import Clock
from poise.study.fit import Fitted
from poise.study.gap import model_of, predictions_of, together
from poise.study.metrics import Found, Predictions, Several, bootstrap, metrics_of
from poise.study.model import StudyModel
from poise.study.ngrams import NGrams, best_order
from poise.study.prepare import Prepared
from poise.study.readings import Readings
from poise.study.result import Arm, Score
from poise.study.space import TEMPERATURE
from poise.study.tempering import DIAL

__all__ = ["compare"]


def compare(
    ready: Prepared,
    fitted: Fitted,
    model: StudyModel,
    clock: Clock,
    seed: int,
    tell: Callable[[str], None],
    *,
    plain: bool,
) -> tuple[Arm, ...]:
    """Score the baselines and the study's own products on the untouched test rows."""
    test = ready.parts.test
    arms = []

    def add(name: str, found: Found, seconds: float, note: str) -> None:
        metrics = metrics_of(ready.targets)
        scores = tuple(Score(m.name, bootstrap(m.name, found, seed)[0]) for m in metrics)
        arms.append(Arm(name, scores, seconds, note))

    def add_boosting() -> None:
        began = clock.spent()
        raw = [boosting(ready.problem.alone(place), codes[ready.development], ready.inputs[test], seed)
               for place, codes in enumerate(ready.codes)]  # fmt: skip
        note = "scikit-learn's, up to 300 trees" + (", class-weighted" if _weighted(ready) else "")
        note += "" if len(raw) == 1 else ", one model a target"
        add("gradient boosting", _of_boosting(ready, raw, test), clock.spent() - began, note)

    if plain:
        tell("training the baselines")
        began = clock.spent()
        plan = fitted.plan
        families = plain_families(ready.problem, fitted.space.choices)[1]
        trainings = sum(map(len, families.values())) + len(families)
        room = int((clock.left() * 0.6) / max(1e-9, fitted.rate * trainings)) if fitted.rate else plan.steps
        plan = replace(plan, steps=min(plan.steps, max(60, room)), rungs=())
        plain_stacks = plain_networks(ready.problem, fitted.folds, plan, seed, fitted.space.choices)
        took = clock.spent() - began
        for name, stack in plain_stacks.items():
            note = f"{len(families[name])} configurations, {plan.steps} steps, the best on validation; "
            note += "both families trained as one population"
            if plan.steps < fitted.plan.steps:
                # Stopping after few steps is a regularizer too: a reader must know that this one was forced.
                note += f"; cut short by the budget (the recipe was searched with {fitted.plan.steps} steps)"
            add(name, predictions_of(ready, model_of(ready, stack), test), took, note)
    if ready.problem.design.boosting:
        add_boosting()
    if isinstance(ready.encoder, CharacterEncoder):
        began = clock.spent()
        found, order = _of_counts(ready, fitted, ready.encoder)
        add(f"{order}-grams", found, clock.spent() - began, "Witten-Bell, the best order on validation")
    spent = clock.spent()
    own = (fitted.best.dials[DIAL],) if TEMPERATURE in fitted.best.on else fitted.temperatures
    network = model_of(ready, fitted.stack.select(torch.tensor([0])), temperatures=own)
    add("poise network", predictions_of(ready, network, test), spent, "the best recipe, one network")
    many = f"{counted(len(fitted.stack), 'network')} of {counted(len(fitted.chosen), 'recipe')}"
    add("poise ensemble", predictions_of(ready, model, test), spent, many)
    return tuple(arms)


def _of_counts(ready: Prepared, fitted: Fitted, encoder: CharacterEncoder) -> tuple[Readings, int]:
    """Return how n-grams of the development stretches read the test stretch, and their order."""
    rows, folds = ready.inputs[ready.development], fitted.folds
    order = best_order(rows[folds.train[0].numpy()], rows[folds.validation[0].numpy() > 0], encoder.size)
    return NGrams.fit(rows, order=order, size=encoder.size).read(ready.inputs[ready.parts.test]), order


def _weighted(ready: Prepared) -> bool:
    return any(head.class_weights is not None for head in ready.problem.heads)


def _of_boosting(ready: Prepared, raw: Sequence[np.ndarray], rows: np.ndarray) -> Predictions | Several:
    """Return the predictions of each target's boosting, by its weighted probabilities or its standard numbers."""

    def own(place: int, known: np.ndarray) -> Predictions:
        target, head = ready.targets[place], ready.problem.heads[place]
        truth, found = ready.codes[place][rows][known], raw[place][known]
        if not head.classes:
            return Predictions(target.decode(truth), target.decode(found), scale=target.scale)
        chances = found if head.class_weights is None else found / head.class_weights.double().numpy()
        chances = chances / chances.sum(1, keepdims=True)
        decided = (chances if head.decision_weights is None else chances * head.decision_weights).argmax(1)
        return Predictions(truth, decided, chances)

    return together(ready, rows, own)
