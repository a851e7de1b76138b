"""Predictors of one output say so when they meet a network of several tasks."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import (
    ArgumentError,
    AugmentationAtTest,
    Dropout,
    DropoutAtTest,
    InputNoise,
    MultiTask,
    Recipe,
    SnapshotEnsemble,
    Swag,
    Temperature,
)
from poise.predict import calibrate

PARTS: list[Any] = [
    Temperature(2.0),
    DropoutAtTest(samples=3),
    SnapshotEnsemble(cycles=2, steps=2),
    Swag(start=0, samples=2),
    AugmentationAtTest((InputNoise(0.1),), samples=2),
]


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_dict_of_tasks_is_refused_with_the_way_out(part: Any) -> None:
    heads = {"kind": nn.Linear(8, 3), "size": nn.Linear(8, 1)}
    run = Recipe(Dropout(0.2), part).start(MultiTask(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), heads))
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    x = torch.randn(16, 4)
    for _ in range(6):
        outputs = run.model(x)
        losses = {
            "kind": F.cross_entropy(outputs["kind"], torch.arange(16) % 3),
            "size": outputs["size"].square().mean(),
        }
        run.objective(losses).backward()
        run.update(optimizer)
    with pytest.raises(ArgumentError, match="must have a network that returns one tensor; got a dict of kind, size"):
        run.predictor()(x)


def test_calibration_of_a_dict_of_tasks_is_refused_with_the_way_out() -> None:
    model = MultiTask(nn.Linear(4, 8), {"kind": nn.Linear(8, 3), "size": nn.Linear(8, 1)}).eval()
    with pytest.raises(ArgumentError, match="`calibrate` must have a network that returns one tensor; got a dict of"):
        calibrate(model, torch.randn(3, 4), torch.tensor([0, 1, 2]))
