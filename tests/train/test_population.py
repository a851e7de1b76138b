"""Populations against plain torch, what each member sees, and networks of many kinds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import (
    L1,
    ArgumentError,
    Decay,
    Dropout,
    Mixup,
    Recipe,
)  # fmt: skip
from poise.core.context import Batch
from poise.core.schedule import OneCycle
from poise.models.tabular import Mlp
from poise.train.losses import CrossEntropy, SquaredError
from poise.train.members import member_seed
from poise.train.optimizers import Adam, Optimizer, Sgd
from poise.train.population import Population, Rows
from poise.train.rows import Picked, epoch_order

STEPS, SIZE = 300, 16


def small(**rest: Any) -> nn.Module:
    return Mlp(7, 3, width=8, depth=2, **rest)


def plain(
    recipe: Recipe | None = None, members: int = 2, build: Callable[[], nn.Module] = small, **rest: Any
) -> Population:
    return Population(build, recipe or Recipe(), CrossEntropy(), lr=[1e-2] * members, classes=3, **rest)


def zero_score(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
    return torch.zeros(len(outputs))


PAIRS: list[tuple[Optimizer, Recipe, Callable[[Any], torch.optim.Optimizer]]] = [
    (Sgd(momentum=0.9), Recipe(), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    (Adam(), Recipe(), lambda p: torch.optim.Adam(p, lr=0.01)),
    (Adam(), Recipe(Decay(0.3, where="all")), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3)),
]


@pytest.mark.parametrize("schedule", [None, OneCycle(1.0, STEPS)])
@pytest.mark.parametrize(("optimizer", "recipe", "theirs"), PAIRS)
def test_one_member_equals_a_plain_torch_loop_in_float64(
    optimizer: Optimizer, recipe: Recipe, theirs: Any, schedule: Any, table: Rows
) -> None:
    data = Rows(table.inputs.double(), table.targets.double())
    population = Population(lambda: small().double(), recipe, CrossEntropy(), lr=[0.01], optimizer=optimizer,
                            schedule=schedule)  # fmt: skip
    alone = small().double()
    with torch.no_grad():
        for name, parameter in alone.named_parameters():
            parameter.copy_(population.state.flat.views()[name][0])
    stepper = theirs(alone.parameters())
    per_epoch = len(data) // SIZE
    for step in range(STEPS):
        order = epoch_order(population.state.keys[:1], step // per_epoch, len(data))[0]
        rows = order[step % per_epoch * SIZE :][:SIZE]
        for group in stepper.param_groups:
            group["lr"] = 0.01 * (1.0 if schedule is None else float(schedule(step)))
        stepper.zero_grad()
        F.cross_entropy(alone(data.inputs[rows]), data.targets[rows]).backward()
        stepper.step()
    population.train(data, STEPS, SIZE)
    for name, parameter in alone.named_parameters():
        ours = population.state.flat.views()[name][0]
        assert ours.dtype == torch.float64
        gap = (ours - parameter.detach()).abs() / parameter.detach().abs().clamp(min=1)
        assert float(gap.max()) <= 1e-12, name


def test_every_part_runs_in_float64_and_keeps_it(table: Rows, tools: Any) -> None:
    data = Rows(table.inputs.double(), table.targets.double())
    settings = tools["spread"](3)
    population = Population(lambda: small().double(), tools["everything"](), CrossEntropy(), classes=3, **settings)
    population.train(data, 6, SIZE)
    population.evaluate(data, tools["mean_loss"])
    kept = population.stack()
    floating = [t for t in {**kept.weights, **population.state.buffers}.values() if t.is_floating_point()]
    assert {tensor.dtype for tensor in floating} == {torch.float64}
    assert population.outputs(data.inputs).dtype == torch.float64


def batches_of(population: Population, data: Rows, steps: int, size: int, rows: Any, monkeypatch: Any) -> torch.Tensor:
    """The first input column of every batch, (steps, M, B)."""
    import poise.train.cut as module

    seen, step = [], module.step

    def spy(program: Any, state: Any, picked: Picked, later: Any, rates: torch.Tensor) -> Any:
        own = picked.batch().inputs[..., 0]  # of several steps, one after the other
        seen.extend(own.reshape(len(own), len(rates), -1).unbind(1))
        return step(program, state, picked, later, rates)

    monkeypatch.setattr(module, "step", spy)
    population.train(data, steps, size, rows)
    return torch.stack(seen)


def numbered(count: int) -> Rows:
    inputs = torch.zeros(count, 7)
    inputs[:, 0] = torch.arange(count)
    return Rows(inputs, F.one_hot(torch.arange(count) % 3, 3).float())


def test_an_epoch_has_every_row_once_in_an_order_of_each_members_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = batches_of(plain(), numbered(40), 8, 10, None, monkeypatch)
    first, second = seen[:4].permute(1, 0, 2).reshape(2, 40), seen[4:].permute(1, 0, 2).reshape(2, 40)
    assert bool((first.sort(1).values == torch.arange(40.0)).all())
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


def test_the_rest_that_fills_no_batch_is_another_one_in_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = batches_of(plain(), numbered(23), 8, 10, None, monkeypatch)[:, 0]
    epochs = [set(seen[2 * e : 2 * e + 2].flatten().tolist()) for e in range(4)]
    assert all(len(rows) == 20 for rows in epochs)
    assert len(set().union(*epochs)) == 23


def test_a_batch_larger_than_the_data_is_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = batches_of(plain(), numbered(5), 2, 64, None, monkeypatch)
    assert seen.shape == (2, 2, 5)


def test_each_member_sees_its_own_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.stack([torch.arange(10), torch.arange(20, 30)])
    seen = batches_of(plain(), numbered(40), 2, 5, rows, monkeypatch)
    assert bool((seen[:, 0] < 10).all())
    assert bool(((seen[:, 1] >= 20) & (seen[:, 1] < 30)).all())


def test_the_order_follows_the_number_of_rows_when_the_data_change() -> None:
    population = plain()
    population.train(numbered(16), 1, 16)
    population.state.step = 0
    population.train(numbered(40), 1, 40)
    assert population.epoch_order is not None
    assert population.epoch_order[1].shape == (2, 40)


def test_weight_two_is_the_row_twice(table: Rows) -> None:
    once = Rows(table.inputs[:20].double(), table.targets[:20].double(), torch.tensor([2.0, 1.0] * 10).double())
    rows = torch.repeat_interleave(torch.arange(20), torch.tensor([2, 1] * 10))
    twice = Rows(once.inputs[rows], once.targets[rows])
    first, second = (plain(build=lambda: small().double()) for _ in range(2))
    first.train(once, 20, 20)
    second.train(twice, 20, 30)
    assert torch.allclose(first.state.flat.data, second.state.flat.data, rtol=0, atol=1e-10)


def test_no_global_random_number_is_drawn(rng_untouched: None, table: Rows) -> None:
    plain(Recipe(Dropout(0.5), Mixup(0.4))).train(table, 2, SIZE)


def test_initial_weights_are_those_of_the_members_seed() -> None:
    population = plain(members=2, seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(member_seed(5, 1))
        expected = small()
    for name, parameter in expected.named_parameters():
        assert torch.equal(population.state.flat.views()[name][1], parameter.detach())


class Odd(nn.Module):
    """A 0-d and an empty parameter, a transposed one, a frozen layer, a tied layer, a reused one, a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(7, 7)
        self.frozen = nn.Linear(7, 7).requires_grad_(False)
        self.tied = nn.Linear(7, 7, bias=False)
        self.tied.weight = self.first.weight
        self.turned = nn.Parameter(torch.randn(7, 3).t())
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.empty = nn.Parameter(torch.zeros(0, 3))
        self.register_buffer("calls", torch.tensor(0))
        self.calls: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        x = self.first(torch.relu(self.first(x)))
        return F.linear(self.tied(self.frozen(x)), self.turned) * self.gain + self.empty.sum()


def test_frozen_tied_scalar_empty_and_transposed_parameters_train_as_in_a_plain_loop(table: Rows) -> None:
    data = Rows(table.inputs.double(), table.targets.double())
    population = plain(Recipe(Decay(0.1, where="all")), build=lambda: Odd().double())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(member_seed(0, 1))
        alone = Odd().double()
    frozen = population.state.buffers["frozen.weight"].clone()
    population.train(data, 40, len(data))
    optimizer = torch.optim.AdamW([p for p in alone.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(alone(data.inputs), data.targets).backward()
        optimizer.step()
    ours = population.state.flat.views()
    assert "tied.weight" not in ours
    for name, parameter in alone.named_parameters():
        if parameter.requires_grad and parameter.numel():
            assert torch.allclose(ours[name][1], parameter, rtol=1e-9, atol=1e-10), name
    assert torch.equal(population.state.buffers["frozen.weight"], frozen)
    assert population.state.buffers["calls"].tolist() == [40, 40]
    network = population.stack().network(1)
    assert torch.allclose(network(data.inputs), population.outputs(data.inputs)[1])


def test_a_buffer_that_is_assigned_is_refused_because_the_value_would_be_lost(table: Rows) -> None:
    class Assigns(Odd):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls = self.calls + 1
            return super().forward(x)

    population = plain(build=Assigns)
    with pytest.raises(ArgumentError, match="change its buffers in place; got a new tensor in 'calls'"):
        population.train(table, 1, SIZE)


def test_torchs_own_batch_norm_keeps_statistics_by_member(table: Rows) -> None:
    population = plain(build=lambda: nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)))
    population.train(table, 3, SIZE)
    means = population.state.buffers["1.running_mean"]
    assert not torch.equal(means[0], means[1])
    assert population.state.buffers["1.num_batches_tracked"].tolist() == [3, 3]


def test_regression_trains_on_a_vector_of_targets(table: Rows) -> None:
    data = Rows(table.inputs, table.inputs[:, 0] * 2)
    population = Population(lambda: Mlp(7, 1, width=32), Recipe(Mixup(0.2)), SquaredError(), lr=[1e-2, 1e-2])
    first = population.train(data, 5, 30)["data"]
    last = population.train(data, 60, 30)["data"]
    assert bool((last < 0.5 * first).all())


def test_terms_are_the_means_over_the_steps_of_each_part(table: Rows) -> None:
    population = Population(small, Recipe(L1(0.5)), CrossEntropy(), lr=[0.0, 0.0])
    weights = sum(v.abs().sum(dim=(1, 2)) for n, v in population.state.flat.views().items() if v.dim() == 3)
    terms = population.train(table, 4, SIZE)
    assert terms.keys() == {"data", "l1"}
    assert torch.allclose(terms["l1"], 0.5 * weights)
