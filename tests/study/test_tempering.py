"""A temperature in a study: what networks know is scored, and not how sure they are of it."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from poise.core.context import Batch
from poise.predict import fit_temperature
from poise.study.ablation import FULL, NOTHING, ablate, ablation_arms, arms_plan
from poise.study.arms import Arms, train_arms
from poise.study.bracket import bracket
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Cohort, Plan
from poise.study.fit import Settings, fit
from poise.study.folds import Folds
from poise.study.gap import arm_of, gaps_of, model_of, predictions_of
from poise.study.heads import Head
from poise.study.metrics import measure
from poise.study.prepare import Prepared
from poise.study.space import TEMPERATURE, Space
from poise.study.tempering import DIAL, tempered

SPACE = Space(["dropout", "temperature"])
WITH = SPACE.config(0, ("dropout", "temperature"), lr=2e-2)
WITHOUT = SPACE.config(1, ("dropout",), lr=2e-2)
LONG = Plan(steps=120, batch=32, every=40)  # long enough to be much too sure


def fitted_alone(head: Head, outputs: Tensor, targets: Tensor) -> float:
    """Return the temperature by bisection, of targets that are smoothed by one row more, or 1 if that is better."""
    scaled = head.weighted(targets, torch.ones(len(targets)))
    smooth = (targets * len(targets) + 1 / targets.shape[1]) / (len(targets) + 1)
    found = fit_temperature(outputs, smooth, scaled.sum(1))
    losses = [float(-(scaled * torch.log_softmax(outputs / own, -1)).sum()) for own in (found, 1.0)]
    return found if losses[0] < losses[1] else 1.0


@pytest.fixture(scope="module")
def pair(ready: Prepared, folds: Folds) -> Cohort:
    """The same networks, with a temperature and without."""
    cohort = Cohort(ready.problem, SPACE.recipe, [WITH, WITHOUT], folds, LONG, seed=0, seeds=[0, 0])
    cohort.train(LONG.steps)
    return cohort


def test_the_score_is_the_loss_after_the_best_temperature_of_each_member(
    pair: Cohort, ready: Prepared, folds: Folds
) -> None:
    (one, other), outputs = pair.validation()
    assert torch.equal(outputs[0].nan_to_num(), outputs[1].nan_to_num()), "training knows of no temperature"
    head, targets = ready.problem.heads[0], ready.problem.rows.targets
    losses = {"with": 0.0, "without": 0.0}
    for fold in range(len(folds)):
        rows = torch.nonzero(folds.validation[fold]).flatten()
        own, wanted, ones = outputs[0, rows], targets[rows], torch.ones(len(rows))
        found = fitted_alone(head, own, wanted)
        for name, logits in (("with", own / found), ("without", own)):
            batch = Batch(None, wanted[None], ones[None])
            losses[name] += float(ready.problem.score(logits[None], batch)) / len(folds)
    assert float(one) == pytest.approx(losses["with"], rel=1e-3)
    assert float(other) == pytest.approx(losses["without"], rel=1e-5)
    assert losses["with"] < 0.9 * losses["without"], "it overfits"
    stop = pair.history[-1][2]
    assert bool((stop[:3] <= stop[3:]).all()), "stopping is told the same"
    assert bool((stop[:3] < 0.95 * stop[3:]).any())


def test_a_members_temperature_is_that_of_its_stop_rows(pair: Cohort, ready: Prepared, folds: Folds) -> None:
    found, head = pair.temperatures(), ready.problem.heads[0]
    assert found[3:].tolist() == [1.0] * 3
    for fold in range(3):
        rows = torch.nonzero(folds.stop[fold]).flatten()
        outputs = pair.population.stack().network(fold)(ready.problem.rows.inputs[rows]).detach()
        expected = fitted_alone(head, outputs, ready.problem.rows.targets[rows])
        assert float(found[fold]) == pytest.approx(expected, rel=1e-2)


def test_a_candidate_has_the_temperature_of_its_held_out_outputs(ready: Prepared, folds: Folds) -> None:
    trials, candidates = bracket(ready.problem, SPACE, [WITH, WITHOUT], folds, LONG, 0)
    for candidate, trial in zip(candidates, trials, strict=True):
        again = tempered(ready.problem, candidate.config, candidate.outputs)
        assert again == candidate.config
        assert trial.dials[DIAL] == candidate.config.dials[DIAL]
    own = {candidate.config.number: candidate.config.dials[DIAL] for candidate in candidates}
    assert own[0] > 1.2
    assert own[1] == 1.0, "neutral where the part is off"


def test_outputs_of_nothing_leave_a_configuration_as_it_is(ready: Prepared) -> None:
    assert tempered(ready.problem, WITH, torch.full((len(ready.problem.rows), 3), torch.nan)) is WITH


def test_a_fit_delivers_the_recipe_with_its_temperature(ready: Prepared) -> None:
    fitted = fit(ready.problem, ready.strata, SPACE, Clock(parse_budget("4trials")), Settings())
    assert TEMPERATURE in fitted.best.on
    part = next(part for part in SPACE.recipe_of(fitted.best) if part.name == TEMPERATURE)
    assert part.dials()["temperature"] == fitted.best.dials[DIAL] != SPACE.recipe.dials()[DIAL]


@pytest.fixture(scope="module")
def arms(ready: Prepared, folds: Folds) -> Arms:
    own = ablation_arms(SPACE, WITH, add_in=True)
    return train_arms(ready.problem, SPACE.recipe, own, folds, LONG, seeds=2, seed=0, jobs=1)


def test_an_ablation_measures_what_the_temperature_is_worth(arms: Arms, ready: Prepared, folds: Folds) -> None:
    with_it = {FULL, "without dropout", "only temperature"}
    for label in arms.labels:
        own = [arms.temperatures[member] for member in arms.members(label)]
        assert (max(own) > 1.2) == (label in with_it), label
    member = max(arms.members(FULL), key=lambda member: arms.temperatures[member])
    place = arms.members(FULL).index(member)
    rows = ready.development[folds.validation[arms.fold[place]].numpy() > 0]
    plain = model_of(ready, arms.stack.select(torch.tensor([member])))
    losses = [measure("log_loss", predictions_of(ready, model, rows)) for model in (arm_of(ready, arms, member), plain)]
    assert losses[0] < losses[1]
    without = arm_of(ready, arms, arms.members("without temperature")[place])
    same = measure("log_loss", predictions_of(ready, without, rows))
    assert losses[1] == pytest.approx(same), "without early stopping, only the division differs"


def test_the_gap_of_the_recipe_is_measured_with_its_temperature_and_that_of_nothing_without(
    arms: Arms, ready: Prepared, folds: Folds
) -> None:
    for label in (FULL, NOTHING):
        member = arms.members(label)[0]
        found = measure("log_loss", predictions_of(ready, arm_of(ready, arms, member), ready.parts.test))
        assert gaps_of(ready, folds, arms, label, 0)[0].test.value == pytest.approx(found)
    assert arms.temperatures[arms.members(NOTHING)[0]] == 1.0


def test_an_ablation_says_its_worth_and_sweeps_no_temperature(ready: Prepared) -> None:
    fitted = fit(ready.problem, ready.strata, SPACE, Clock(parse_budget("4trials")), Settings())
    fitted = dataclasses.replace(fitted, best=dataclasses.replace(WITH, lr=2e-2), plan=LONG)
    _, worth, strengths = ablate(ready, SPACE, fitted, arms_plan(fitted, math.inf, 1, ablation=True), seed=0, jobs=1)
    assert {one.part for one in worth} == {"dropout", TEMPERATURE}
    assert {one.dial for one in strengths} == {"dropout.p"}, "a temperature is fitted, and not swept"


def test_numbers_and_several_targets_have_none() -> None:
    assert TEMPERATURE in Space().names
    assert TEMPERATURE not in Space(classification=False).names
    assert TEMPERATURE not in Space(several=True).names
