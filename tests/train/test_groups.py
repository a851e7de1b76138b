"""Optimizers that do not suit the model or the recipe are refused, or warned of, before a weight moves."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from poise import L1, L2, ArgumentError, Decay, PoiseWarning, Recipe
from poise.train.population import Rows


def test_an_optimizer_that_decays_too_is_warned_of_once(table: Rows, loop: Any) -> None:
    run = Recipe(Decay(0.1)).start(loop.network())
    optimizer = torch.optim.AdamW(run.model.parameters(), weight_decay=0.1)
    with pytest.warns(PoiseWarning, match="decayed twice") as seen:
        loop.one_step(run, optimizer, table.inputs, table.targets)
    loop.one_step(run, optimizer, table.inputs, table.targets)  # a second warning would be an error
    assert len(seen) == 1
    assert seen[0].filename.endswith("conftest.py"), "the line that called `update`"


def test_l1_refuses_an_optimizer_whose_effective_step_is_unknown(table: Rows, loop: Any) -> None:
    run = Recipe(L1(0.1)).start(loop.network())
    before = {name: p.clone() for name, p in run.model.state_dict().items()}
    optimizers = (
        (torch.optim.Adadelta(run.model.parameters()), "got Adadelta"),
        (torch.optim.RMSprop(run.model.parameters(), momentum=0.9), "got RMSprop that is centered or has momentum"),
    )
    for optimizer, message in optimizers:
        with pytest.raises(ArgumentError, match=message):
            loop.one_step(run, optimizer, table.inputs, table.targets)
        loop.assert_equal(dict(run.model.state_dict()), before)


def test_a_bare_penalty_takes_any_optimizer(table: Rows, loop: Any) -> None:
    run = Recipe(L1(0.1, subgradient=True)).start(loop.network())
    loop.one_step(run, torch.optim.Adadelta(run.model.parameters()), table.inputs, table.targets)
    assert run.step_number == 1


def test_an_optimizer_that_would_maximise_a_penalty_is_refused(table: Rows, loop: Any) -> None:
    for recipe, refused in ((Recipe(L2(0.1)), True), (Recipe(L1(0.1)), False)):
        run = recipe.start(loop.network())
        optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1, maximize=True)
        with pytest.raises(ArgumentError, match="must minimise, because l2 adds") if refused else nullcontext():
            loop.one_step(run, optimizer, table.inputs, table.targets)


def test_an_optimizer_that_asks_for_the_loss_again_is_refused(table: Rows, loop: Any) -> None:
    run = Recipe(L2(0.1)).start(loop.network())
    with pytest.raises(ArgumentError, match="must step from one gradient; got LBFGS"):
        loop.one_step(run, torch.optim.LBFGS(run.model.parameters()), table.inputs, table.targets)
