"""Silent defects that were found by running other libraries, each as a test that its counterpart here has none.

The numbers in the names of the cases are what the other library gave; docs/peers.md names them.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import (
    L1,
    L2,
    CutMix,
    Dropout,
    DropPath,
    Ema,
    LabelSmoothing,
    Mixup,
    PoiseWarning,
    Recipe,
    Swa,
)
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.network import reestimate
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

pytestmark = pytest.mark.usefixtures("seeded")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def rows(count: int = 32) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 5), torch.arange(count) % 3


def steps(run: Any, optimizer: Any, count: int, after: Any = lambda run: None) -> Any:
    x, y = rows()
    for _ in range(count):
        inputs, targets = run.batch(x, y)
        outputs = run.model(inputs)
        run.objective(F.cross_entropy(outputs, targets), outputs=outputs).backward()
        run.update(optimizer)
        after(run)
    return run


# --- averages --------------------------------------------------------------------------------------------------------


def test_the_average_of_0_3_and_6_is_3_and_not_2_25() -> None:
    run = Recipe(Swa(start=0)).start(nn.Linear(1, 1, bias=False))
    optimizer = torch.optim.SGD(run.model.parameters(), lr=1.0)
    for value in (0.0, 3.0, 6.0):
        run.model.weight.data.fill_(value)
        run.objective(run.model(torch.zeros(1, 1)).sum()).backward()  # a gradient of 0: the step moves nothing
        run.update(optimizer)
    assert run.averaged is not None
    assert float(run.averaged["weight"]) == 3.0


def test_a_short_last_batch_counts_by_its_rows() -> None:
    norm = nn.BatchNorm1d(1)
    reestimate(norm, [torch.zeros(8, 1), torch.full((2, 1), 10.0)])
    assert float(norm.running_mean) == pytest.approx(2.0), "5.0 if batches were weighted equally"


def test_swa_ends_with_the_statistics_of_the_averaged_weights() -> None:
    run = Recipe(Swa(start=2)).start(nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)))
    steps(run, torch.optim.SGD(run.model.parameters(), lr=0.5), 8)
    x, _ = rows(64)
    model = run.predictor(x.split(32))
    hidden = model[0](x)
    torch.testing.assert_close(model[1].running_mean, hidden.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model[1].running_var, hidden.var(0), rtol=1e-4, atol=1e-5)


def test_an_average_in_half_precision_moves() -> None:
    run = Recipe(Ema(0.999, warmup=False)).start(nn.Linear(1, 1, bias=False).bfloat16())
    run.model.weight.data.fill_(1.0)
    run.memory = run.recipe.remember({"weight": run.model.weight})
    optimizer = torch.optim.SGD(run.model.parameters(), lr=1.0)
    for _ in range(100):
        run.model.weight.data.fill_(2.0)
        run.objective(run.model(torch.zeros(1, 1, dtype=torch.bfloat16)).sum()).backward()
        run.update(optimizer)
    assert float(run.memory["ema"]["shadow/weight"]) == pytest.approx(2 - 0.999**100, rel=1e-4)


# --- layers ----------------------------------------------------------------------------------------------------------


def test_stochastic_depth_runs_the_branch_as_often_as_p_says_and_not_never() -> None:
    class Block(nn.Module):
        residual_branches = ("branch",)

        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Identity()

        def forward(self, x: Tensor) -> Any:
            return x + self.branch(x)

    model = DropPath(0.2, depth="uniform").network(Block())
    kept = float((model(torch.ones(100_000, 1)) > 1).float().mean())
    assert abs(kept - 0.8) < 0.01, "p is the share dropped"


@pytest.mark.parametrize("part", [L2(0.5), L1(0.5, subgradient=True)], ids=["l2", "l1"])
def test_a_penalty_reaches_hidden_layers_whose_input_needs_a_gradient(part: Any) -> None:
    run = Recipe(part).start(mlp())
    x, _ = rows()
    (0.0 * run.model(x).sum()).backward()
    run.objective(0.0 * run.model(x).sum()).backward()
    for layer in (run.model[0], run.model[2], run.model[4]):
        expected = 0.5 * (layer.weight if isinstance(part, L2) else layer.weight.sign())
        torch.testing.assert_close(layer.weight.grad, expected.detach())


def test_each_member_has_its_own_dropout_rate() -> None:
    dials = {"dropout.p": torch.tensor([0.0, 0.9])}
    population = Population(mlp, Recipe(Dropout(0.5)), CrossEntropy(), lr=[0.0, 0.0], dials=dials, classes=3)
    x, y = rows()
    data = Rows(x, F.one_hot(y, 3).float())
    first, second = (population.train(data, 1, 32)["data"] for _ in range(2))
    assert float(first[0]) == pytest.approx(float(second[0]), rel=1e-5), "the first drops nothing"
    assert float(first[1]) != pytest.approx(float(second[1]), rel=1e-2)


# --- penalties -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [L1(0.1), L2(0.1)], ids=["l1", "l2"])
def test_a_penalty_is_there_at_every_step_and_not_at_the_first_only(part: Any) -> None:
    run = Recipe(part).start(mlp())
    seen: list[float] = []
    steps(run, torch.optim.SGD(run.model.parameters(), lr=0.0), 4, lambda run: seen.append(float(run.terms[part.name])))
    assert seen[0] > 0
    assert seen == [seen[0]] * 4


def test_l2_is_the_square_and_not_the_norm() -> None:
    run = Recipe(L2(2.0)).start(nn.Linear(2, 1, bias=False))
    run.model.weight.data[:] = torch.tensor([3.0, 4.0])
    run.objective(torch.zeros(()))
    assert float(run.terms["l2"]) == 25.0, "5 would be the norm"


@pytest.mark.parametrize(("optimizer", "zeros"), [("SGD", 45), ("Adam", 45)])
def test_l1_leaves_exact_zeros_where_a_penalty_in_the_loss_leaves_none(optimizer: str, zeros: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 50, generator=generator)
    y = x[:, :5].sum(1, keepdim=True) + 0.1 * torch.randn(200, 1, generator=generator)
    found = {}
    for part in (L1(0.1), L1(0.1, subgradient=True)):
        run = Recipe(part).start(nn.Linear(50, 1, bias=False))
        make = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}[optimizer]
        steps_left = make(run.model.parameters(), lr=0.05)
        for _ in range(400):
            run.objective(0.5 * F.mse_loss(run.model(x), y)).backward()
            run.update(steps_left)
        found[part.subgradient] = int((run.model.weight == 0).sum())
    assert found == {False: zeros, True: 0}


# --- targets ---------------------------------------------------------------------------------------------------------


def test_mixup_and_smoothing_give_one_target_in_either_order_of_listing() -> None:
    x, y = rows()
    found = []
    for parts in ((Mixup(0.4), LabelSmoothing(0.4)), (LabelSmoothing(0.4), Mixup(0.4))):
        run = Recipe(*parts).start(mlp(), seed=3)
        found.append(run.batch(x, y)[1])
    assert torch.equal(*found)


def test_targets_of_mixup_and_cutmix_are_the_inputs_shares_and_the_meeting_is_warned_of() -> None:
    with pytest.warns(PoiseWarning, match="mix targets twice"):
        run = Recipe(Mixup(1.0), CutMix()).start(nn.Linear(300, 300), seed=3, classes=300)
    inputs, targets = run.batch(torch.eye(300), torch.eye(300))
    assert inputs.shape == targets.shape
    mixed = Recipe(Mixup(1.0)).start(nn.Linear(300, 300), seed=3, classes=300)
    inputs, targets = mixed.batch(torch.eye(300), torch.eye(300))
    assert torch.equal(inputs, targets), "what share of which row is in a row, the target says"


def test_a_cut_rows_target_is_the_share_of_its_columns() -> None:
    part = CutMix()
    batch = Batch(torch.arange(40.0).reshape(4, 10), torch.eye(4))
    ctx = Context(0, Rng(key(5)), classes=4)
    mixed, _ = part.batch(batch, {}, ctx)
    for row in range(4):
        own = float((mixed.inputs[row] == batch.inputs[row]).float().mean())
        assert float(mixed.targets[row, row]) == pytest.approx(own)


def test_soft_targets_that_are_smoothed_again_are_noticed() -> None:
    run = Recipe(LabelSmoothing(0.1)).start(mlp(), classes=3)
    x, y = rows()
    with pytest.warns(PoiseWarning, match="label_smoothing will do so again"):
        run.batch(x, 0.9 * F.one_hot(y, 3) + 0.1 / 3)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_odd_batches_and_a_batch_of_three_are_batches(count: int) -> None:
    x, y = rows(count)
    inputs, targets = Recipe(Mixup(0.4)).start(mlp()).batch(x, y)
    assert inputs.shape == x.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(count))


def test_mixup_mixes_numbers_as_it_mixes_inputs() -> None:
    values = torch.arange(12.0)[:, None]
    inputs, targets = Recipe(Mixup(1.0)).start(nn.Linear(1, 1)).batch(values, values)
    assert torch.equal(inputs, targets)
