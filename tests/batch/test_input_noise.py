"""Input noise: the law, and which columns are left alone."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from poise.batch import InputNoise
from poise.core.errors import ArgumentError
from poise.testing import check_regularizer
from poise.testing.oracles import kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")

COLUMNS = torch.tensor([0, 1, 1, 1, 2])


def normal_p_value(values: Tensor, deviation: float) -> float:
    return kolmogorov(0.5 * (1 + torch.erf(values.double() / (deviation * math.sqrt(2)))))


@pytest.mark.parametrize("part", [InputNoise(0.3), InputNoise(0.3, where="all")])
def test_battery(part: InputNoise) -> None:
    check_regularizer(part)


def test_noise_is_normal_with_deviation_scale_and_a_wrong_scale_is_caught(run) -> None:  # type: ignore[no-untyped-def]
    noise = run(InputNoise(0.3), torch.zeros(1000, 1000, dtype=torch.float64), torch.zeros(1000)).inputs
    assert normal_p_value(noise, 0.3) > 1e-6
    assert normal_p_value(noise, 0.306) < 1e-6


def test_one_hot_columns_are_left_alone_if_groups_are_known(run) -> None:  # type: ignore[no-untyped-def]
    x = torch.zeros(50, 5)
    changed = run(InputNoise(0.3), x, torch.zeros(50), columns=COLUMNS).inputs != x
    assert changed.any(0).tolist() == [True, False, False, False, True]
    assert bool((run(InputNoise(0.3, where="all"), x, torch.zeros(50), columns=COLUMNS).inputs != x).all())
    assert bool((run(InputNoise(0.3), x, torch.zeros(50)).inputs != x).all())


def test_zero_noise_is_the_identity_to_the_bit_and_targets_are_kept(run) -> None:  # type: ignore[no-untyped-def]
    x, y = torch.rand(5, 3, 2), torch.rand(5)
    batch = run(InputNoise(0.0), x, y)
    assert torch.equal(batch.inputs, x)
    assert batch.targets is y


def test_token_ids_are_left_as_they_are(run) -> None:  # type: ignore[no-untyped-def]
    x = torch.arange(6).reshape(2, 3)
    assert run(InputNoise(5.0), x, torch.zeros(2)).inputs is x


@pytest.mark.parametrize("wrong", [{"scale": -1.0}, {"scale": math.nan}, {"where": "onehot"}])
def test_values_outside_their_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=rf"`InputNoise\.{next(iter(wrong))}` must be"):
        InputNoise(**wrong)  # type: ignore[arg-type]


def test_a_tree_of_inputs_is_refused(run: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`InputNoise` must have one tensor as inputs; got a dict\."):
        run(InputNoise(0.3), {"x": torch.zeros(5, 2)}, torch.zeros(5))
