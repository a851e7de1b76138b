"""Every part in a population: order, a neighbour that diverges and pruning leave a survivor as it was, bit for bit."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.train.population import Population

for _folder in sorted({*EVERY_STAGE} - {"shrink"}):
    importlib.import_module(f"poise.{_folder}")

KINDS = {key: kind for key, kind in sorted(Regularizer.registry.items()) if kind.__module__.startswith("poise.")}


def score(outputs: Tensor, batch: Any) -> Tensor:
    return outputs.square().mean(dim=(1, 2))


def owned(population: Population, member: int) -> dict[str, Tensor]:
    """Everything that belongs to one member."""
    place = population.members.index(member)
    found = {f"weight/{name}": tensor[place] for name, tensor in population.state.flat.views().items()}
    found |= {f"evaluated/{name}": tensor[place] for name, tensor in population.weights().items()}
    found |= {f"buffer/{name}": tensor[place] for name, tensor in population.state.buffers.items()}
    found |= {f"optimizer/{name}": tensor[place] for name, tensor in population.state.optimizer.items()}
    for part, memory in population.state.memory.items():
        found |= {f"{part}/{name}": tensor[place] for name, tensor in memory.items()}
    return found | {fact: getattr(population, fact)[place] for fact in ("best_score", "stopped", "diverged")}


@pytest.mark.usefixtures("seeded")
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # torch's attention in evaluation
@pytest.mark.parametrize("key", KINDS)
def test_a_survivor_is_unmoved_by_order_a_neighbour_of_nan_and_pruning(
    key: str, part_of: Any, population_of: Any
) -> None:
    part = part_of(key)
    (calm, data), (wild, _) = population_of(part, [0, 1, 2]), population_of(part, [2, 1, 0])
    with torch.no_grad():
        wild.state.flat.data[1] = torch.nan
    for one in (calm, wild):
        for _ in range(2):
            one.train(data, 1, 4)
            one.evaluate(data, score)
    assert wild.diverged.tolist() == [False, True, False]
    wild.keep([0, 2])  # the places of members 2 and 0
    for one in (calm, wild):
        one.train(data, 2, 4)
        one.evaluate(data, score)
    for member in (0, 2):
        ours, theirs = owned(calm, member), owned(wild, member)
        assert ours.keys() == theirs.keys()
        if key == "alpha_dropout":  # its SELU: torch rounds the last values of a tensor in another way than the others
            torch.testing.assert_close(ours.pop("best_score"), theirs.pop("best_score"), rtol=1e-6, atol=0)
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
