"""Removal of inserted layers gives the model back as it was, whatever part put them there."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn

from poise import L2, Dropout, Recipe
from poise.core.errors import ArgumentError
from poise.core.kinds import Insertion, inserted_layers
from poise.core.regularizer import Regularizer
from poise.network.remove import remove
from poise.testing import example, sample_for

for _folder in ("network", "update", "objective"):
    importlib.import_module(f"poise.{_folder}")
KINDS = {name: kind for name, kind in sorted(Regularizer.registry.items()) if issubclass(kind, Insertion)}
pytestmark = pytest.mark.usefixtures("seeded")


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.__module__.startswith("poise.")])
def test_every_part_leaves_nothing_behind(name: str, described: Any) -> None:
    part: Any = example(KINDS[name], **{"group_norm": {"groups": 2}}.get(name, {}))
    sample = sample_for(part)
    model, inputs = sample.module().double().eval(), sample.inputs
    before, expected = described(model), model(inputs)
    part.network(model.train())
    model(inputs)
    assert list(inserted_layers(model))
    assert described(remove(model).eval()) == before
    assert torch.equal(model(inputs), expected)


def test_a_name_without_layers_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"must be parts with layers here: \['dropout'\]; got 'drop'"):
        remove(Dropout(0.2).network(nn.Sequential(nn.ReLU())), "drop")


def test_the_layers_of_a_run_can_be_removed(described: Any) -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    before = described(model)
    run = Recipe(Dropout(0.5), L2(0.1)).start(model)
    run.objective(run.model(torch.randn(4, 5)).square().mean()).backward()
    remove(run.model)
    assert described(model) == before
