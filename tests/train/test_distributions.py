"""Class indices as distributions: integers of any type, inputs of any form, and what has no distribution."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise import ArgumentError, LabelSmoothing, Recipe
from poise.train.distributions import classes_of, distributions

INDICES = torch.tensor([0, 2, 1])


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8])
def test_indices_may_be_any_integers(kind: torch.dtype) -> None:
    assert torch.equal(distributions(INDICES.to(kind), 3, torch.float64), torch.eye(3, dtype=torch.float64)[INDICES])


def test_one_output_takes_floats_because_its_only_distribution_is_1() -> None:
    run = Recipe(LabelSmoothing()).start(nn.Linear(2, 1))
    with pytest.raises(
        ArgumentError, match=r"`Run.batch.targets` must be floats .*; got class indices \(torch.int64\)"
    ):
        run.batch(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))


class Sum(nn.Module):
    """Takes a dict or a pair of inputs."""

    def forward(self, inputs: Any) -> Tensor:
        first, second = inputs.values() if isinstance(inputs, dict) else inputs
        return first + second  # type: ignore[no-any-return]  # tensors


@pytest.mark.parametrize("tree", [{"a": torch.ones(2, 5), "b": torch.ones(2, 5)}, (torch.ones(2, 5), torch.ones(2, 5))])
def test_the_width_is_found_of_a_model_that_takes_a_tree_of_inputs(tree: Any) -> None:
    assert classes_of(Sum(), tree) == 5


@pytest.mark.parametrize("targets", [[0, 1, 2], INDICES.numpy(), torch.tensor(1), {"task": [0, 1, 2]}])
def test_targets_that_are_not_tensors_of_rows_are_refused(targets: Any) -> None:
    run = Recipe(LabelSmoothing()).start(nn.Linear(2, 3))
    with pytest.raises(ArgumentError, match=r"`Run.batch.targets` must be a tensor with a target a row, or a dict"):
        run.batch(torch.zeros(3, 2), targets)
