"""Recorded steps on a pretended device: what replays there reads no value, copies nothing in, and does what a step does."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from poise import BatchNorm, Dropout, Lookahead, Mixup, Recipe
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.core.trees import leaves
from poise.kernels import native
from poise.testing.operations import Operations
from poise.testing.pretended import pretended
from poise.train import recorded
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
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Counted]]:
    """Lets the pretended device record."""
    monkeypatch.setattr(Counted, "replays", 0)
    monkeypatch.setitem(recorded._GRAPHS, "lazy", Counted)
    yield Counted


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


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("key", KINDS)
def test_every_part(key: str, part_of: Any, population_of: Any, graphs: type[Counted]) -> None:
    made = [population_of(part_of(key), [0, 1, 2]) for _ in range(2)]
    data = made[0][1]

    def use(population: Population, device: str) -> None:
        population.train(data.to(device), 7, 4)

    replayed, _ = both_ways(lambda: made.pop()[0], use)
    print(key, Counted.replays, replayed.recorded.refused)
