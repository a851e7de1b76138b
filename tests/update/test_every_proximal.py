"""What every operator of a threshold holds: zeros stay, nothing and everything, convexity, and Moreau's identity."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.recipe import Recipe
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.core.rng import Rng, key
from poise.testing import sample_for
from poise.testing.trial import Trial, trial_of

for _folder in sorted({*EVERY_STAGE} - {"shrink"}):
    importlib.import_module(f"poise.{_folder}")

THRESHOLDS = [
    key
    for key, kind in sorted(Regularizer.registry.items())
    if kind.__module__.startswith("poise.") and "update" in kind.stages() and "scale" in kind.needs
]
CONVEX = [key for key in THRESHOLDS if not Regularizer.registry[key].expansive]
NORMS = [key for key in CONVEX if key != "elastic_net"]  # of degree 1: their conjugate is the indicator of a ball


def weights(trial: Trial, seed: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = trial.case(step=seed, dtype=torch.float64)["params"]
    return found


def moved(part: Any, trial: Trial, params: dict[str, Tensor], step: float = 0.2) -> dict[str, Tensor]:
    """The operator at one step for all coordinates, where it is the one of the textbooks."""
    scale = {name: torch.full_like(p, step) for name, p in params.items()}
    ctx = Context(0, Rng(key(0)), params=params, roles=trial.roles, columns=trial.sample.columns, scale=scale)
    found: dict[str, Tensor] = part.update(params, part.remember(params), ctx)[0]
    return found


@pytest.fixture(params=THRESHOLDS)
def threshold(request: pytest.FixtureRequest, part_of: Any) -> tuple[Any, Trial]:
    part = part_of(request.param, weight=1.0)
    return part, trial_of(part, sample_for(part))


@pytest.fixture(params=CONVEX)
def convex(request: pytest.FixtureRequest, part_of: Any) -> tuple[Any, Trial]:
    part = part_of(request.param, weight=1.0)
    return part, trial_of(part, sample_for(part))


@pytest.fixture(params=NORMS)
def norm(request: pytest.FixtureRequest, part_of: Any) -> tuple[Any, Trial]:
    part = part_of(request.param, weight=1.0)
    return part, trial_of(part, sample_for(part))


def changed_by(part: Any, trial: Trial) -> list[str]:
    params = weights(trial, 0)
    return [name for name, p in moved(part, trial, params).items() if not torch.equal(p, params[name])]


def test_it_acts_so_that_the_tests_below_can_fail(threshold: Any) -> None:
    assert changed_by(*threshold)


def test_zero_weights_stay_exactly_zero(threshold: Any) -> None:
    part, trial = threshold
    zeros = {name: torch.zeros_like(p) for name, p in weights(trial, 0).items()}
    assert all(bool((p == 0).all()) for p in moved(part, trial, zeros).values())


def test_weight_zero_is_the_identity_bit_for_bit(threshold: Any) -> None:
    part, trial = threshold
    params = weights(trial, 1)
    assert all(torch.equal(p, params[name]) for name, p in moved(part.neutral(), trial, params).items())


def test_a_huge_weight_gives_exact_zeros(threshold: Any, part_of: Any) -> None:
    part, trial = threshold
    huge = part_of(part.name, weight=1e6)
    after = moved(huge, trial, weights(trial, 2))
    assert all(bool((after[name] == 0).all()) for name in changed_by(part, trial))


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> Tensor:
    return torch.cat([(one[name] - other[name]).flatten() for name in one])


@pytest.mark.parametrize("seed", range(5))
def test_it_is_firmly_non_expansive(convex: Any, seed: int) -> None:
    part, trial = convex
    first, second = weights(trial, seed), weights(trial, seed + 100)
    after = distance(moved(part, trial, first), moved(part, trial, second))
    assert float(after @ after) <= float(after @ distance(first, second)) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_moreaus_identity_holds(norm: Any, seed: int) -> None:
    """The rest w - prox(w) is the nearest point of the dual norm's ball, of which the operator leaves nothing."""
    part, trial = norm
    params = weights(trial, seed)
    after = moved(part, trial, params)
    rest = {name: params[name] - after[name] for name in changed_by(part, trial)}
    again = moved(part, trial, params | rest)
    assert max(float(again[name].abs().max()) for name in rest) <= 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_nothing_near_the_result_is_better(convex: Any, seed: int) -> None:
    """The objective, penalty plus squared distance over twice the step, rises in every direction that is tried."""
    part, trial = convex
    params = weights(trial, seed)
    after = moved(part, trial, params)
    generator = torch.Generator().manual_seed(seed)

    def cost(there: dict[str, Tensor]) -> float:
        ctx = Context(0, Rng(key(0)), params=there, roles=trial.roles, columns=trial.sample.columns)
        term = part.objective({}, part.remember(params), ctx)[0][part.name]
        away = distance(there, params)
        return float(term + away @ away / (2 * 0.2))

    least = cost(after)
    for size in (1e-1, 1e-3, 1e-5):
        near = {n: p + size * torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in after.items()}
        assert cost(near) > least


@pytest.mark.parametrize("other", ["elastic_net", "group_lasso", "unit_lasso"])
@pytest.mark.parametrize("seed", range(3))
def test_with_l1_in_front_the_operator_of_the_sum_is_one_after_the_other(other: str, seed: int, part_of: Any) -> None:
    """The sparse group lasso's operator, for one: thresholds of single weights first, then those of groups."""
    recipe = Recipe(part_of("l1", weight=0.3), part_of(other, weight=0.5))
    assert [part.name for part in recipe.stage("update")] == ["l1", other]
    trial = trial_of(recipe[other], sample_for(recipe[other]))
    params = weights(trial, seed)
    generator = torch.Generator().manual_seed(seed)
    # Steps that differ within a group, as Adam's do.
    steps = {n: 0.1 + torch.rand(p.shape, generator=generator, dtype=p.dtype) for n, p in params.items()}

    def in_turn(parts: Any) -> dict[str, Tensor]:
        there = params
        for part in parts:
            ctx = Context(0, Rng(key(0)), params=there, roles=trial.roles, columns=trial.sample.columns, scale=steps)
            there = part.update(there, {}, ctx)[0]
        return there

    def cost(there: dict[str, Tensor]) -> float:
        ctx = Context(0, Rng(key(0)), params=there, roles=trial.roles, columns=trial.sample.columns)
        terms = recipe.fold("objective", {}, recipe.remember(params), ctx)[0]
        away = sum((((there[n] - params[n]).square()) / (2 * steps[n])).sum() for n in params)
        return float(sum(terms.values()) + away)

    ours = in_turn(recipe.stage("update"))
    least = cost(ours)
    for size in (1e-1, 1e-3, 1e-5):
        near = {n: p + size * torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in ours.items()}
        assert cost(near) > least
        # Also along the weights that are not zero, where noise on the zeros costs nothing.
        within = {n: torch.where(ours[n] == 0, 0.0, p) for n, p in near.items()}
        assert cost(within) > least
    assert cost(in_turn(recipe.stage("update")[::-1])) > least * (1 + 1e-6), "the other order is not the operator"
