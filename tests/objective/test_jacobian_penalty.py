"""The Jacobian penalty against the whole Jacobian, and as the cost of small input noise."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from poise.core.errors import ArgumentError
from poise.objective import JacobianPenalty
from poise.testing import check_regularizer


def one_output(step: Any) -> Any:
    """The same rows and network with the sum of its two outputs as the only one."""
    total = nn.Linear(2, 1, bias=False).double()
    nn.init.ones_(total.weight)
    return step.but(module=nn.Sequential(step.module, total), targets=step.targets[:, :1])


def squared_sizes(step: Any) -> torch.Tensor:
    """|J|^2 of each row, from the whole Jacobian."""
    forward = step.context().forward
    return torch.stack([torch.func.jacrev(forward)(row[None]).square().sum() for row in step.inputs])


def estimates(step: Any, part: JacobianPenalty, draws: int = 500) -> torch.Tensor:
    return torch.stack([step.but(seed=seed).term(part) for seed in range(draws)])


def chance(found: torch.Tensor, expected: float) -> float:
    error = float(found.std()) / math.sqrt(len(found))
    return math.erfc(abs(float(found.mean()) - expected) / error / math.sqrt(2))


def test_it_passes_the_battery() -> None:
    assert check_regularizer(JacobianPenalty(0.3, projections=2)).count >= 20


def test_of_one_output_it_is_the_exact_gradient(regression: Any) -> None:
    alone = one_output(regression)
    expected = 0.5 * 0.3 * squared_sizes(alone).mean()
    torch.testing.assert_close(alone.term(JacobianPenalty(0.3)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("projections", [1, 3])
def test_it_is_the_squared_jacobian_on_average_and_a_wrong_factor_is_caught(step: Any, projections: int) -> None:
    expected = 0.5 * float(squared_sizes(step).mean())
    found = estimates(step, JacobianPenalty(1.0, projections=projections))
    assert chance(found, expected) > 1e-6
    assert chance(3 * found, expected) < 1e-6  # directions that are not of length 1
    assert chance(found / 3, expected) < 1e-6  # without the number of outputs


def test_rows_count_by_their_weights(regression: Any) -> None:
    alone = one_output(regression)
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    expected = 0.5 * (weights * squared_sizes(alone)).sum() / weights.sum()
    torch.testing.assert_close(alone.but(weights=weights).term(JacobianPenalty(1.0)), expected, rtol=1e-12, atol=0)


def test_small_input_noise_costs_its_variance_times_the_squared_jacobian(regression: Any) -> None:
    """Bishop 1995: E (f(x + s n) - y)^2 = (f(x) - y)^2 + s^2 |J|^2 + O(s^2 (f - y)), whose last part vanishes at y."""
    forward, s = regression.context().forward, 1e-3
    own = torch.Generator().manual_seed(0)
    noise = s * torch.randn(20_000, *regression.inputs.shape, dtype=torch.float64, generator=own)
    moved = forward((regression.inputs + noise).flatten(0, 1)).reshape(20_000, 5, 2)
    cost = (moved - forward(regression.inputs)).square().sum(-1).mean(1)  # summed over the outputs, mean over rows
    weight = 2 * s**2  # the half of the penalty
    expected = 0.5 * weight * float(squared_sizes(regression).mean())
    assert chance(cost, expected) > 1e-6
    assert chance(1.05 * cost, expected) < 1e-6


def test_first_and_second_derivatives_by_the_weights_are_right(step: Any) -> None:
    names = list(step.params)

    def term(*weights: torch.Tensor) -> torch.Tensor:
        return step.term(JacobianPenalty(1.0), dict(zip(names, weights, strict=True)))

    weights = tuple(w.clone().requires_grad_() for w in step.params.values())
    assert gradcheck(term, weights, eps=1e-6, atol=1e-8)
    assert gradgradcheck(term, weights, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2"])
def test_projections_must_be_a_positive_int(value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`JacobianPenalty.projections` must be an int >= 1; got"):
        JacobianPenalty(projections=value)


@pytest.mark.parametrize(
    ("inputs", "got"), [(torch.zeros(5, 4, dtype=torch.int64), "torch.int64"), ((torch.zeros(5, 4),), "a tuple")]
)
def test_inputs_that_cannot_be_differentiated_are_refused(step: Any, inputs: Any, got: str) -> None:
    ctx = step.context()
    bad = step.but(facts={"batch": ctx.batch._replace(inputs=inputs)}).context()
    with pytest.raises(ArgumentError, match=rf"`JacobianPenalty` must have inputs that are one tensor.*got {got}"):
        JacobianPenalty().objective({}, {}, bad)
