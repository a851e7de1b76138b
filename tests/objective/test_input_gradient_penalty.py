"""The input gradient penalty against each row's own gradient, and its closed form in linear regression."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from poise.objective import InputGradientPenalty
from poise.testing import check_regularizer


def squared_slopes(step: Any) -> torch.Tensor:
    """|d loss_i / d x_i|^2 row by row."""

    def loss(row: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(step.context().forward(row[None]), target[None])

    slopes = [torch.func.grad(loss)(row, target) for row, target in zip(step.inputs, step.targets, strict=True)]
    return torch.stack([slope.square().sum() for slope in slopes])


def test_it_passes_the_battery() -> None:
    assert check_regularizer(InputGradientPenalty(0.3)).count >= 19


def test_it_is_half_the_mean_squared_gradient_of_each_rows_loss(step: Any) -> None:
    expected = 0.5 * 0.3 * squared_slopes(step).mean()
    torch.testing.assert_close(step.term(InputGradientPenalty(0.3)), expected, rtol=1e-12, atol=0)


def test_rows_count_by_their_weights_and_a_weight_of_zero_leaves_the_row_out(step: Any) -> None:
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    expected = 0.5 * (weights * squared_slopes(step)).sum() / weights.sum()
    found = step.but(weights=weights).term(InputGradientPenalty(1.0))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_a_weight_of_zero_leaves_the_row_out_also_where_others_depend_on_it(step: Any) -> None:
    coupled = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), step.module).double()
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    here = step.but(module=coupled, weights=weights)
    slopes = torch.func.grad(lambda inputs: here.but(inputs=inputs).data())(step.inputs)[weights > 0]
    expected = 0.5 * weights.sum() * (slopes.square().sum(1) / weights[weights > 0]).sum()
    torch.testing.assert_close(here.term(InputGradientPenalty(1.0)), expected, rtol=1e-12, atol=0)


def test_equal_weights_are_no_weights(step: Any) -> None:
    found = step.but(weights=torch.full((5,), 3.0, dtype=torch.float64)).term(InputGradientPenalty(1.0))
    torch.testing.assert_close(found, step.term(InputGradientPenalty(1.0)), rtol=1e-12, atol=0)


def test_in_linear_regression_it_is_twice_the_squared_residual_times_the_squared_weights(regression: Any) -> None:
    """Of (w x - y)^2 the gradient by x is 2 (w x - y) w."""
    model = nn.Linear(4, 1).double()
    alone = regression.but(module=model, targets=regression.targets[:, :1])
    residual = (model(alone.inputs) - alone.targets).detach().square().mean()
    expected = 0.5 * 4 * residual * model.weight.detach().square().sum()
    torch.testing.assert_close(alone.term(InputGradientPenalty(1.0)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("classes", [3, None])
def test_first_and_second_derivatives_by_the_weights_are_right(step: Any, classes: int | None) -> None:
    here = step.but(classes=classes)
    names = list(here.params)

    def term(*weights: torch.Tensor) -> torch.Tensor:
        return here.term(InputGradientPenalty(1.0), dict(zip(names, weights, strict=True)))

    weights = tuple(w.clone().requires_grad_() for w in here.params.values())
    assert gradcheck(term, weights, eps=1e-6, atol=1e-8)
    assert gradgradcheck(term, weights, eps=1e-6, atol=1e-7)
