"""Half precision: unscaled once, clipped after, overflowed steps left out by every part; bf16 by autocast alone."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import L1, ClipNorm, Decay, Dropout, Ema, PcGrad, Recipe, Sam
from poise.train.population import Rows
from poise.train.run import TrainingError

RECIPE = Recipe(Dropout(0.2), ClipNorm(0.1), Decay(0.1), Ema(0.5), L1(1e-3))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 3))


def trained(table: Rows, recipe: Recipe, steps: int, scale: float | None, boom: int = -1) -> Any:
    """Train in float32, with a scaler if a scale is given; at step `boom` the loss's gradient overflows."""
    run = recipe.start(network(), seed=1)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2, weight_decay=0.0)
    scaler = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
    taken = []
    for step in range(steps):
        inputs, targets = run.batch(table.inputs, table.targets.argmax(1))
        loss = run.objective(F.cross_entropy(run.model(inputs), targets))
        (loss if scaler is None else scaler.scale(loss)).backward()
        if step == boom:
            next(run.model.parameters()).grad[0, 0] = torch.inf
        taken.append(run.update(optimizer, scaler))
    return run, taken, scaler


@pytest.mark.filterwarnings("ignore:averaged weights are not exactly zero:poise.PoiseWarning")
def test_a_scaler_whose_scale_is_a_power_of_two_changes_no_bit(table: Rows) -> None:
    plain, _, _ = trained(table, RECIPE, 20, None)
    scaled, taken, _ = trained(table, RECIPE, 20, 1024.0)
    assert all(taken)
    for one, two in zip(plain.model.parameters(), scaled.model.parameters(), strict=True):
        assert torch.equal(one, two), "a clip of scaled gradients would differ"


@pytest.mark.filterwarnings("ignore:averaged weights are not exactly zero:poise.PoiseWarning")
def test_an_overflowed_step_is_left_out_whole(table: Rows) -> None:
    before, _, _ = trained(table, RECIPE, 6, 1024.0)
    after, taken, scaler = trained(table, RECIPE, 7, 1024.0, boom=6)
    assert taken == [True] * 6 + [False]
    assert scaler.get_scale() == 512.0
    assert after.step_number == 6
    for one, two in zip(before.model.parameters(), after.model.parameters(), strict=True):
        assert torch.equal(one, two), "neither decayed nor thresholded"
        assert two.grad is None
    assert all(torch.equal(before.averaged[name], after.averaged[name]) for name in before.averaged)


def test_of_two_optimizers_neither_steps_when_one_overflows(table: Rows) -> None:
    run = Recipe(Decay(0.1)).start(network())
    first, last = run.model[0], run.model[2]
    optimizers = [torch.optim.SGD(first.parameters(), lr=0.1), torch.optim.SGD(last.parameters(), lr=0.1)]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = [p.detach().clone() for p in run.model.parameters()]
    scaler.scale(run.objective(F.cross_entropy(run.model(table.inputs), table.targets))).backward()
    first.weight.grad[0, 0] = torch.nan
    assert not run.update(optimizers, scaler)
    assert all(torch.equal(p, old) for p, old in zip(run.model.parameters(), before, strict=True))
    scaler.scale(run.objective(F.cross_entropy(run.model(table.inputs), table.targets))).backward()
    assert run.update(optimizers, scaler)


def test_a_parameter_of_the_loss_that_overflows_leaves_the_step_out_too(table: Rows) -> None:
    run, scale = Recipe(Decay(0.1)).start(network()), nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([*run.model.parameters(), scale], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = [p.detach().clone() for p in run.model.parameters()]
    scaler.scale(run.objective(scale * F.cross_entropy(run.model(table.inputs), table.targets))).backward()
    scale.grad.fill_(torch.inf)  # type: ignore[union-attr]  # backward() has run
    assert not run.update(optimizer, scaler)
    assert run.step_number == 0
    assert all(torch.equal(p, old) for p, old in zip(run.model.parameters(), before, strict=True))
    assert scale.grad is None


def test_gradients_that_no_optimizer_holds_count_unscaled_in_the_common_norm(table: Rows) -> None:
    found = []
    for scale in (1.0, 1024.0):
        run = Recipe(ClipNorm(0.1)).start(network())
        optimizer = torch.optim.SGD(run.model[2].parameters(), lr=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(run.objective(F.cross_entropy(run.model(table.inputs), table.targets))).backward()
        assert run.update(optimizer, scaler)
        found.append(run.model[2].weight.detach())
    assert torch.equal(*found)


def test_an_overflow_that_no_optimizer_holds_lowers_the_scale_too(table: Rows) -> None:
    run = Recipe().start(network())
    optimizer = torch.optim.SGD(run.model[2].parameters(), lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(run.objective(F.cross_entropy(run.model(table.inputs), table.targets))).backward()
    run.model[0].weight.grad[0, 0] = torch.inf
    assert not run.update(optimizer, scaler)
    assert scaler.get_scale() == 4.0  # at the same scale every step would be left out


def test_a_scaler_that_is_switched_off_is_none(table: Rows) -> None:
    run = Recipe().start(network())
    optimizer, scaler = torch.optim.SGD(run.model.parameters(), lr=1.0), torch.amp.GradScaler("cpu", enabled=False)
    scaler.scale(run.objective(F.cross_entropy(torch.nan * run.model(table.inputs), table.targets))).backward()
    with pytest.raises(TrainingError, match="'data' is nan at step 0"):
        run.update(optimizer, scaler)


def test_a_scaler_takes_sparse_gradients() -> None:
    run = Recipe(ClipNorm(0.1)).start(nn.Embedding(4, 2, sparse=True))
    optimizer, scaler = torch.optim.SGD(run.model.parameters(), lr=1.0), torch.amp.GradScaler("cpu", init_scale=8.0)
    for factor, taken in ((torch.inf, False), (1.0, True)):
        scaler.scale(run.objective(run.model(torch.tensor([1, 1])).sum() * factor)).backward()
        assert run.update(optimizer, scaler) is taken


def test_a_second_gradient_that_overflows_alone_leaves_the_step_out(table: Rows) -> None:
    run = Recipe(Sam(0.05), Decay(0.1)).start(network())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    before, calls = [p.detach().clone() for p in run.model.parameters()], []

    def closure() -> Any:
        loss = run.objective(F.cross_entropy(run.model(table.inputs), table.targets))
        scaler.scale(loss).backward()
        calls.append(loss)
        if len(calls) == 2:
            run.model[0].weight.grad[0, 0] = torch.inf
        return loss

    run.step(optimizer, closure, scaler)
    assert run.step_number == 0
    assert scaler.get_scale() == 32.0
    assert all(torch.equal(p, old) for p, old in zip(run.model.parameters(), before, strict=True))
    run.step(optimizer, closure, scaler)
    assert run.step_number == 1


def test_the_tasks_gradients_of_a_step_that_was_left_out_are_forgotten(table: Rows) -> None:
    run = Recipe(PcGrad()).start(network())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for overflow in (True, False):
        outputs = run.model(table.inputs)
        losses = {"class": F.cross_entropy(outputs, table.targets), "size": outputs.square().mean()}
        scaler.scale(run.objective(losses)).backward()
        if overflow:
            run.model[0].weight.grad[0, 0] = torch.inf
        assert run.update(optimizer, scaler) is not overflow
    plain = Recipe(PcGrad()).start(network())
    outputs = plain.model(table.inputs)
    plain.draws = 1  # the second batch's draws
    losses = {"class": F.cross_entropy(outputs, table.targets), "size": outputs.square().mean()}
    plain.objective(losses).backward()
    plain.update(torch.optim.SGD(plain.model.parameters(), lr=0.1))
    for one, two in zip(run.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.filterwarnings("ignore:averaged weights are not exactly zero:poise.PoiseWarning")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains_with_every_stage_and_stays_near_float32(dtype: torch.dtype, table: Rows) -> None:
    plain, _, _ = trained(table, RECIPE, 20, None)
    run = RECIPE.start(network(), seed=1)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2, weight_decay=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0) if dtype == torch.float16 else None
    for _ in range(20):
        inputs, targets = run.batch(table.inputs, table.targets.argmax(1))
        with torch.autocast("cpu", dtype=dtype):
            outputs = run.model(inputs)
            loss = run.objective(F.cross_entropy(outputs.float(), targets), outputs=outputs)
        (loss if scaler is None else scaler.scale(loss)).backward()
        assert run.update(optimizer, scaler)
    assert outputs.dtype == dtype
    for one, two in zip(plain.model.parameters(), run.model.parameters(), strict=True):
        assert two.dtype == torch.float32
        torch.testing.assert_close(one, two, rtol=0, atol=0.05)
