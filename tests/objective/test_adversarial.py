"""Adversarial training against a hand-made move, and logistic regression's closed form of Goodfellow 2015."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from poise.objective import Adversarial
from poise.testing import check_regularizer


def moved(step: Any, epsilon: float) -> torch.Tensor:
    """Return x + epsilon sign(d loss / d x), by plain autograd."""
    inputs = step.inputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(step.but(inputs=inputs).data(), inputs)
    return step.inputs + epsilon * slope.sign()


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Adversarial(0.3, epsilon=0.2)).count >= 21


@pytest.mark.parametrize("kind", ["step", "regression"])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_it_puts_the_loss_of_moved_rows_in_place_of_a_share(kind: str, share: float, request: Any) -> None:
    step = request.getfixturevalue(kind)
    expected = (1 - share) * step.data() + share * step.but(inputs=moved(step, 0.2)).data()
    total = step.data() + step.term(Adversarial(share, epsilon=0.2))
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-14)


def test_in_logistic_regression_the_margin_falls_by_epsilon_times_the_l1_norm(linear: Any) -> None:
    """Goodfellow 2015, section 5: the loss becomes softplus(epsilon |w|_1 - y (w x + b)), y = -1 or 1."""
    w, b = linear.params["weight"], linear.params["bias"]
    signs = 2 * linear.targets[:, 1] - 1
    expected = F.softplus(0.3 * w.abs().sum() - signs * (linear.inputs @ w + b)).mean()
    total = linear.data() + linear.term(Adversarial(1.0, epsilon=0.3))
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=0)


def test_no_gradient_runs_through_the_move(step: Any) -> None:
    there = moved(step, 0.2)

    def expected(params: dict[str, torch.Tensor]) -> torch.Tensor:
        return 0.5 * (step.but(inputs=there).data(params) - step.data(params))

    found = step.gradient(Adversarial(0.5, epsilon=0.2))
    for name, g in torch.func.grad(expected)(step.params).items():
        torch.testing.assert_close(found[name], g, rtol=1e-12, atol=1e-15)


def test_row_weights_act_as_in_the_loss(step: Any) -> None:
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    here = step.but(weights=weights)
    expected = here.but(inputs=moved(here, 0.2)).data()
    torch.testing.assert_close(here.data() + here.term(Adversarial(1.0, epsilon=0.2)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("part", [Adversarial(0.0, epsilon=0.2), Adversarial(0.5, epsilon=0.0)])
def test_without_a_share_or_a_move_the_term_is_exactly_zero(step: Any, part: Adversarial) -> None:
    assert float(step.term(part)) == 0
