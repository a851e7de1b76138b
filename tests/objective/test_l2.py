"""L2 against ridge regression's closed form, scikit-learn's Ridge, and its own gradient."""

import pytest
import torch
from sklearn.linear_model import Ridge

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.objective import L2
from poise.testing import check_regularizer

ROLES = {"w": Role("weight", inputs=True), "b": Role("bias")}


def term(part: L2, **params: torch.Tensor) -> torch.Tensor:
    terms, _ = part.objective({"data": torch.zeros(())}, {}, Context(0, Rng(key(0)), params=params, roles=ROLES))
    return terms["l2"]


def regression() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(60, 12, dtype=torch.float64, generator=generator)
    y = X @ torch.randn(12, dtype=torch.float64, generator=generator) + 0.3
    return X, y + 0.5 * torch.randn(60, dtype=torch.float64, generator=generator)


def test_it_passes_the_battery() -> None:
    assert check_regularizer(L2(0.3)).count >= 19


@pytest.mark.parametrize("weight", [1e-3, 0.1, 10.0])
def test_minimum_is_ridge_regression_with_alpha_over_n(weight: float) -> None:
    X, y = regression()
    n = len(X)
    w, b = torch.zeros(1, 12, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    # Newton's method from autograd alone: on a quadratic it lands on the minimum of the objective as coded.
    flat = torch.cat([w.flatten(), b])

    def objective(flat: torch.Tensor) -> torch.Tensor:
        data = 0.5 * (X @ flat[:12] + flat[12] - y).square().mean()
        return data + term(L2(weight), w=flat[:12].reshape(1, 12), b=flat[12:])

    hessian = torch.func.jacrev(torch.func.grad(objective))(flat)
    found = flat - torch.linalg.solve(hessian, torch.func.grad(objective)(flat))
    centred = X - X.mean(0)
    closed = torch.linalg.solve(
        centred.T @ centred + n * weight * torch.eye(12, dtype=torch.float64), centred.T @ (y - y.mean())
    )
    torch.testing.assert_close(found[:12], closed, rtol=1e-12, atol=1e-13)
    sklearn = Ridge(alpha=n * weight).fit(X.numpy(), y.numpy())
    torch.testing.assert_close(found[:12], torch.from_numpy(sklearn.coef_), rtol=1e-11, atol=1e-12)
    assert float(found[12]) == pytest.approx(sklearn.intercept_, rel=1e-10)


def test_gradient_is_exactly_weight_times_w() -> None:
    w = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (found,) = torch.autograd.grad(term(L2(0.125), w=w, b=torch.ones(5)), w)
    assert torch.equal(found, 0.125 * w.detach())


def test_value_is_zero_at_zero_and_grows_with_the_square() -> None:
    w = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert float(term(L2(0.3), w=torch.zeros_like(w), b=torch.ones(5))) == 0
    torch.testing.assert_close(term(L2(0.3), w=3 * w, b=torch.ones(5)), 9 * term(L2(0.3), w=w, b=torch.ones(5)))


def test_biases_are_left_alone_unless_selected() -> None:
    w, b = torch.zeros(1, 2), torch.tensor([2.0])
    assert float(term(L2(1.0), w=w, b=b)) == 0
    assert float(term(L2(1.0, where="biases"), w=w, b=b)) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sum_does_not_overflow_in_half_precision(dtype: torch.dtype) -> None:
    w = torch.full((1, 4), 300.0, dtype=dtype, requires_grad=True)
    value = term(L2(1.0), w=w, b=torch.ones(1, dtype=dtype))
    (grad,) = torch.autograd.grad(value, w)
    assert value.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(2 * 300.0**2, rel=1e-2)
    assert torch.equal(grad, w.detach())


def test_float32_dial_of_a_member_keeps_float64_values_in_float64() -> None:
    w = torch.tensor([[1e-9 + 1.0]], dtype=torch.float64)
    values = torch.vmap(lambda weight: term(L2().at({"weight": weight}), w=w, b=torch.ones(1)))(
        torch.tensor([2.0, 4.0])
    )
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, torch.stack([w[0, 0] ** 2, 2 * w[0, 0] ** 2]), rtol=1e-15, atol=0)
