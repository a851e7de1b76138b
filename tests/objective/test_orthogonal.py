"""Soft orthogonality against singular values, and the claim that the side makes no difference to the gradient."""

import pytest
import torch

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.objective import Orthogonal
from poise.testing import check_regularizer

CTX = Context(0, Rng(key(0)))


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def value(weight: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    return Orthogonal(strength).penalty({"w": weight}, CTX)


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Orthogonal(0.3)).count >= 19


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5), (1, 4), (4, 1)])
def test_it_is_the_singular_values_distance_from_one(shape: tuple[int, int]) -> None:
    W = draw(*shape)
    expected = 0.3 * (torch.linalg.svdvals(W).square() - 1).square().sum()
    torch.testing.assert_close(value(W, 0.3), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(3, 7), (7, 3)])
def test_the_other_gram_matrix_has_the_same_gradient_and_is_higher_by_the_difference_of_the_sides(
    shape: tuple[int, int],
) -> None:
    def other(W: torch.Tensor) -> torch.Tensor:
        gram = W.T @ W if shape[0] <= shape[1] else W @ W.T
        return (gram - torch.eye(len(gram), dtype=W.dtype)).square().sum()

    W = draw(*shape)
    torch.testing.assert_close(other(W) - value(W), torch.tensor(4.0, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.func.grad(value)(W), torch.func.grad(other)(W), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4)])
def test_it_is_zero_with_zero_gradient_at_an_orthonormal_set(shape: tuple[int, int]) -> None:
    W = torch.linalg.qr(draw(max(shape), min(shape)))[0]
    W = W if shape[0] >= shape[1] else W.T
    torch.testing.assert_close(value(W), torch.tensor(0.0, dtype=torch.float64), rtol=0, atol=1e-28)
    torch.testing.assert_close(torch.func.grad(value)(W), torch.zeros(shape, dtype=torch.float64), rtol=0, atol=1e-13)


def test_descent_makes_rows_orthonormal() -> None:
    W = draw(3, 7)
    for _ in range(400):
        W = W - 0.05 * torch.func.grad(value)(W)
    torch.testing.assert_close(W @ W.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-10)


def test_a_kernel_is_one_row_a_filter_and_vectors_are_left_out() -> None:
    W = draw(4, 3, 2, 2)
    assert torch.equal(value(W), value(W.reshape(4, 12)))
    params = {"w": W, "b": torch.ones(4, dtype=torch.float64), "empty": torch.ones(0, 3)}
    assert torch.equal(Orthogonal(1.0).penalty(params, CTX), value(W))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_do_not_overflow_in_half_precision(dtype: torch.dtype) -> None:
    found = value(torch.full((1, 2), 300.0, dtype=dtype))
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx((2 * 300.0**2 - 1) ** 2, rel=1e-2)
