"""Recorded steps on a pretended device: what replays there waits for nothing, and does what a usual step does."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from poise import L1, BatchNorm, Dropout, Linear, Mixup, Recipe, Swa
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.core.schedule import OneCycle
from poise.core.trees import leaves
from poise.kernels import native
from poise.models.tabular import Mlp
from poise.testing.operations import Operations
from poise.testing.pretended import pretended
from poise.train import recorded
from poise.train.looped import mark_looped
from poise.train.losses import CrossEntropy
from poise.train.optimizers import Sgd
from poise.train.population import Population, Rows

for _folder in sorted({*EVERY_STAGE} - {"shrink"}):
    importlib.import_module(f"poise.{_folder}")

KINDS = {key: kind for key, kind in sorted(Regularizer.registry.items()) if kind.__module__.startswith("poise.")}


class Counted(Operations):
    """A graph that counts the replays of all graphs."""

    replays = 0

    def replay(self) -> None:
        type(self).replays += 1
        super().replay()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    """Lets the pretended device record."""
    monkeypatch.setattr(Counted, "replays", 0)
    monkeypatch.setitem(recorded._GRAPHS, "lazy", Counted)
    return Counted


def owned(population: Population) -> list[Tensor]:
    state = population.state
    trees = [state.flat.data, state.buffers, state.optimizer, state.memory, state.averaged, state.keys, state.lr]
    return [leaf.cpu() for leaf in leaves([*trees, population.best, population.best_score]) if isinstance(leaf, Tensor)]


def both_ways(make: Callable[[], Population], use: Callable[[Population, str], None]) -> tuple[Population, Population]:
    """Return a population that was used on the device with recorded steps, and one without."""
    found = []
    for on in (True, False):
        with native(on), pretended() as device:
            population = make().to(device)
            use(population, device)
            found.append(population)
    assert found[0].state.step == found[1].state.step
    for with_graph, without in zip(owned(found[0]), owned(found[1]), strict=True):
        torch.testing.assert_close(with_graph, without, rtol=1e-5, atol=1e-6, equal_nan=True)
    return found[0], found[1]


BY_NUMBER = {"lookahead", "snapshot_ensemble", "swag"}  # parts that do something at every so-manieth step


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("key", KINDS)
def test_every_part(key: str, part_of: Any, population_of: Any, graphs: type[Counted]) -> None:
    made = [population_of(part_of(key), [0, 1, 2]) for _ in range(2)]
    data = made[0][1]

    def use(population: Population, device: str) -> None:
        population.train(data.to(device), 5, 4)

    population, _ = both_ways(lambda: made.pop()[0], use)
    assert (population.recorded.refused is not None) == (key in BY_NUMBER), population.recorded.refused
    assert graphs.replays == (0 if key in BY_NUMBER else 4)  # the check's two, and the last two steps


def plain(tools: dict[str, Any], recipe: Recipe | None = None, **rest: Any) -> Population:
    """Three members with everything that is not moved by a schedule, or of a recipe."""
    settings = tools["spread"](3)
    return Population(
        lambda: Mlp(7, 3, width=8, depth=2), tools["everything"]() if recipe is None else recipe, CrossEntropy(),
        lr=settings["lr"], dials=settings["dials"] if recipe is None else {}, classes=3, **rest,
    )  # fmt: skip


def test_evaluations_survivors_and_other_batches_between_replays(
    tools: dict[str, Any], table: Rows, graphs: type[Counted]
) -> None:
    def use(population: Population, device: str) -> None:
        there = table.to(device)
        for _ in range(2):
            population.train(there, 6, 20)
            population.evaluate(there, tools["mean_loss"])
        population.keep([2, 0])
        population.train(there, 6, 20)
        population.evaluate(there, tools["mean_loss"])
        population.train(there, 6, 32)

    both_ways(lambda: plain(tools, schedule=OneCycle(1.0, 30)), use)
    assert graphs.replays == 3 + 6 + 3 + 3 + 3 * 2  # three recordings, each with two replays of its check


def test_fixed_dials_and_rows_of_ones_own(tools: dict[str, Any], table: Rows, graphs: type[Counted]) -> None:
    recipe = Recipe(BatchNorm(), Dropout(0.3), Mixup(0.3), L1(1e-3), Swa(2))
    rows = torch.stack([torch.randperm(90, generator=torch.Generator().manual_seed(m))[:60] for m in range(3)])

    def use(population: Population, device: str) -> None:
        population.train(table.to(device), 8, 20, rows.to(device))

    # Batch norm leaves biases before it without a gradient but rounding, of which Adam makes steps: SGD does not.
    both_ways(lambda: plain(tools, recipe, optimizer=Sgd(0.9)), use)
    assert graphs.replays == 5 + 2


def test_dials_that_move_and_networks_in_a_loop_are_not_recorded(
    tools: dict[str, Any], table: Rows, graphs: type[Counted]
) -> None:
    def use(population: Population, device: str) -> None:
        population.train(table.to(device), 6, 20)

    both_ways(lambda: plain(tools, Recipe(Dropout(Linear(0.1, 0.5, steps=10)))), use)
    looped = plain(tools, Recipe(Dropout(0.1)))
    mark_looped(looped.program.module)
    with pretended() as device:
        use(looped.to(device), device)
    assert graphs.replays == 0


class Forgetful(Counted):
    """A graph that does nothing when it is replayed."""

    def replay(self) -> None:
        type(self).replays += 1


class Stale(Counted):
    """A graph that has numbers of the step in which it was recorded: every replay is the first one again."""

    def replay(self) -> None:
        super().replay()
        if not hasattr(self, "kept"):
            self.kept = [(made, made.clone()) for one in self.done for made in one.made if made is not None]
        for made, values in self.kept:
            made.copy_(values)
        for one in self.done:
            if one.function._schema.is_mutable:
                one.function(*one.values, **one.named)


@pytest.mark.parametrize("wrong", [Forgetful, Stale])
def test_a_recording_that_does_something_else_is_not_used(
    wrong: type[Counted], tools: dict[str, Any], table: Rows, graphs: type[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recorded._GRAPHS, "lazy", wrong)

    def use(population: Population, device: str) -> None:
        population.train(table.to(device), 8, 20)

    population, _ = both_ways(lambda: plain(tools), use)  # the usual steps, as if it had never been tried
    assert population.recorded.refused is not None
    assert "replays are off by" in population.recorded.refused


def test_memory_that_runs_out_while_recording_leaves_the_usual_steps(
    tools: dict[str, Any], table: Rows, graphs: type[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Counted):
        def record(self, body: Callable[[], None]) -> None:
            super().record(body)
            raise torch.OutOfMemoryError("no room")

    monkeypatch.setitem(recorded._GRAPHS, "lazy", Full)

    def use(population: Population, device: str) -> None:
        population.train(table.to(device), 6, 20)

    population, _ = both_ways(lambda: plain(tools), use)
    assert population.recorded.refused == "OutOfMemoryError: no room"
