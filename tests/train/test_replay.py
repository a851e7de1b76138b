"""The network run again within one step: other masks, other weights, and nothing moved that must stay."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import ArgumentError, BatchNorm, ClipNorm, Dropout, Mixup, Recipe
from poise.core.context import Context
from poise.core.dial import DialValue, dial
from poise.core.regularizer import Memory, Regularizer
from poise.kernels import native
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

SEEN: dict[str, Any] = {}


@dataclass(frozen=True)
class Probe(Regularizer):
    """Looks at what the stages offer, and leaves everything as it is."""

    needs: ClassVar[tuple[str, ...]] = ("closure", "tasks")
    weight: DialValue = dial(1.0, neutral=0.0)

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        assert ctx.batch is not None
        if "passes" in SEEN:
            SEEN["passes"] = ctx.outputs, ctx.forward(ctx.batch.inputs), ctx.forward(ctx.batch.inputs, draw=1)
        SEEN["loss"] = terms, ctx.loss(ctx.outputs, ctx.batch)
        return terms, memory

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        SEEN["gradient"] = grads, ctx.gradient(ctx.params), ctx.gradient({n: w + 0.01 for n, w in ctx.params.items()})
        SEEN["tasks"] = ctx.tasks
        return grads, memory


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def closure_of(run: Any, table: Rows, **rest: Any) -> Any:
    def closure() -> Tensor:
        inputs, targets = run.batch(table.inputs, table.targets)
        outputs = run.model(inputs)
        loss: Tensor = run.objective(F.cross_entropy(outputs, targets), outputs=outputs)
        loss.backward()
        return loss

    return closure


RECIPE = Recipe(BatchNorm(), Dropout(0.3), Mixup(0.4), Probe(), ClipNorm(1e9))


@pytest.mark.usefixtures("seeded")
def test_the_gradient_at_the_same_weights_is_the_gradient_bit_for_bit(table: Rows) -> None:
    run = RECIPE.start(network(), seed=3, classes=3)
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    for _ in range(3):
        run.step(optimizer, closure_of(run, table))
        found, same, elsewhere = SEEN["gradient"]
        assert all(torch.equal(found[name], same[name]) for name in found)
        assert not any(torch.equal(found[name], elsewhere[name]) for name in found)


@pytest.mark.usefixtures("seeded")
def test_looking_elsewhere_moves_neither_weights_nor_statistics_nor_draws(table: Rows) -> None:
    results = []
    for recipe in (RECIPE, RECIPE.without("probe")):
        torch.manual_seed(1)
        run = recipe.start(network(), seed=3, classes=3)
        torch.manual_seed(2)  # for the model's own nn.Dropout
        optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
        for _ in range(4):
            run.step(optimizer, closure_of(run, table))
        results.append(run.model.state_dict() | {"rng": torch.rand(1)})
    looked, plain = results
    assert [name for name in plain if not torch.equal(plain[name], looked[name])] == []


@pytest.mark.usefixtures("seeded")
def test_draw_zero_repeats_the_masks_and_another_draw_does_not() -> None:
    model = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3))
    run = Recipe(Dropout(0.5), Probe()).start(model, seed=3)
    inputs, targets = run.batch(torch.randn(20, 7), torch.arange(20) % 3)
    outputs = run.model(inputs)
    SEEN["passes"] = ()
    run.objective(F.cross_entropy(outputs, targets), outputs=outputs)
    given, same, other = SEEN.pop("passes")
    assert torch.equal(given, same)
    assert not torch.equal(given, other)
    torch.testing.assert_close(SEEN["loss"][0]["data"], SEEN["loss"][1])


def test_a_part_that_looks_elsewhere_needs_a_closure(table: Rows) -> None:
    run = Recipe(Probe()).start(network(), seed=3, classes=3)
    closure_of(run, table)()
    with pytest.raises(ArgumentError, match=r"call `run\.step\(optimizer, closure\)`"):
        run.update(torch.optim.SGD(run.model.parameters(), lr=0.1))


@pytest.mark.usefixtures("seeded")
def test_the_loss_that_was_given_is_the_one_that_parts_see(table: Rows) -> None:
    run = Recipe(Probe()).start(network(), loss=lambda outputs, targets: (outputs - targets).abs().sum())
    run.batch(table.inputs, table.targets)
    run.objective(run.model(table.inputs).sum(), outputs=torch.zeros(90, 3))
    assert float(SEEN["loss"][1]) == 90.0


@pytest.fixture
def eager() -> Iterator[None]:
    """The probe's objective has no kernel; what is compared with it must go by torch as well."""
    with native(False):
        yield


@pytest.mark.usefixtures("seeded", "eager")
def test_a_population_looks_elsewhere_as_one_network_does(table: Rows) -> None:
    def plain() -> nn.Module:
        return nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3))

    recipe = RECIPE.without("clip_norm")
    population = Population(plain, recipe, CrossEntropy(), lr=[0.1, 0.2], seed=3, classes=3)
    statistics = {name: value.clone() for name, value in population.state.buffers.items()}
    population.train(table, 1, 90)
    assert set(SEEN["tasks"]) == {"data"}
    moved = population.state.buffers
    without = Population(plain, recipe.without("probe"), CrossEntropy(), lr=[0.1, 0.2], seed=3, classes=3)
    without.train(table, 1, 90)
    assert torch.equal(population.state.flat.data, without.state.flat.data)
    for name, before in statistics.items():
        assert torch.equal(moved[name], without.state.buffers[name])
        assert not torch.equal(moved[name], before), "the step itself moves them"


@pytest.mark.filterwarnings("ignore:parts that ask for the loss:poise.PoiseWarning")  # `Probe` asks for the usual one
@pytest.mark.usefixtures("seeded")
def test_the_tasks_gradients_sum_to_the_gradient_over_micro_batches(table: Rows) -> None:
    model = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    run = Recipe(Probe()).start(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure() -> Tensor:
        for rows in torch.arange(90).split(45):
            inputs, targets = run.batch(table.inputs[rows].double(), table.targets[rows].argmax(1))
            outputs = run.model(inputs)
            losses = {"class": F.cross_entropy(outputs, targets), "size": outputs.square().mean()}
            (run.objective(losses, outputs) / 2).backward()
        return torch.zeros(())

    run.step(optimizer, closure)
    found = SEEN["gradient"][0]
    assert set(SEEN["tasks"]) == {"class", "size"}
    for name, grad in found.items():
        torch.testing.assert_close(SEEN["tasks"]["class"][name] + SEEN["tasks"]["size"][name], grad)
    assert set(run.terms) == {"data/class", "data/size"}
