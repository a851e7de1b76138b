"""Every part in a population: order, a neighbour that diverges and pruning leave a survivor as it was, bit for bit."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from poise import PoiseWarning, Recipe
from poise.core.dial import dials_of
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.testing import sample_for
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

for _folder in sorted({*EVERY_STAGE} - {"shrink"}):
    importlib.import_module(f"poise.{_folder}")

KINDS = {key: kind for key, kind in sorted(Regularizer.registry.items()) if kind.__module__.startswith("poise.")}


class OfTasks:
    """The sample's loss: of one task, or a dict of several."""

    def __init__(self, part: Regularizer) -> None:
        self.sample, self.one = sample_for(part), CrossEntropy()

    def __call__(self, outputs: Tensor, batch: Any) -> Any:
        tasks = self.sample.task_targets(batch.targets)
        each = {task: self.one(outputs, batch._replace(targets=own)) for task, own in tasks.items()}
        return each or self.one(outputs, batch)


def population(part: Regularizer, members: list[int]) -> Population:
    sample = sample_for(part)
    dials = {}
    for name, declared in dials_of(type(part)).items():
        value = float(part.dials()[name])
        step = 0.25 * (1.0 if torch.isinf(torch.tensor(declared.neutral)) else declared.neutral - value)
        dials[f"{part.name}.{name}"] = torch.tensor([value + m * step for m in members])
    torch.manual_seed(9)
    teacher = sample.module().eval() if "teacher" in part.needs else None
    rates = [0.01 * (1 + m) for m in members]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)
        return Population(sample.module, Recipe(part), OfTasks(part), lr=rates, members=members, dials=dials, seed=3,
                          columns=sample.columns, classes=sample.classes, teacher=teacher)  # fmt: skip


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
def test_a_survivor_is_unmoved_by_order_a_neighbour_of_nan_and_pruning(key: str, part_of: Any) -> None:
    part = part_of(key)
    sample = sample_for(part)
    data = Rows(sample.inputs.float(), sample.targets.float(), sample.weights.float())
    calm, wild = population(part, [0, 1, 2]), population(part, [2, 1, 0])
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
