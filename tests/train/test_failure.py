"""What a step warns of: an optimizer that steps by itself, a loop that never updates."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import L2, Decay, Ema, Patience, PoiseWarning, Recipe
from poise.train.population import Rows
from poise.train.run import Run


def learners(recipe: Recipe) -> tuple[Run, torch.optim.Optimizer]:
    torch.manual_seed(0)
    run = recipe.start(nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)))
    return run, torch.optim.Adam(run.model.parameters(), lr=1e-2)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_an_optimizer_that_steps_before_the_update_is_told_once(table: Rows, accumulated: int) -> None:
    run, optimizer = learners(Recipe(L2(0.1), Ema(0.5)))
    for _ in range(3):
        for _ in range(accumulated):
            run.objective(F.cross_entropy(run.model(table.inputs), table.targets)).backward()
        run.update(optimizer)  # as it should be: warnings are errors
    for told in (1, 0):
        run.objective(F.cross_entropy(run.model(table.inputs), table.targets)).backward()
        optimizer.step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run.update(optimizer)
        assert ["was that optimizer.step()?" in str(one.message) for one in caught] == [True] * told
        assert all(one.filename == __file__ for one in caught)


def test_a_loop_that_never_updates_is_told(table: Rows) -> None:
    run, optimizer = learners(Recipe(Decay(0.1), Patience(3)))
    run.stop(2.0)  # before training there is nothing to tell
    run.objective(F.cross_entropy(run.model(table.inputs), table.targets)).backward()
    optimizer.step()
    with pytest.warns(PoiseWarning, match=r"run\.update never was"):
        run.stop(1.0)
    with pytest.warns(PoiseWarning, match=r"run\.update never was"):
        run.predictor()
    run.skip(optimizer)  # as `update` does where gradients have overflowed: it was called
    run.stop(3.0)
