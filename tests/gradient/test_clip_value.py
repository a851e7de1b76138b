"""Clipping by value against torch.nn.utils.clip_grad_value_."""

import math

import pytest
import torch

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.gradient import ClipValue
from poise.testing import check_regularizer

CTX = Context(0, Rng(key(0)))


def clip(limit: float | torch.Tensor, **values: torch.Tensor) -> dict[str, torch.Tensor]:
    return ClipValue(limit).gradient(values, {}, CTX)[0]


def test_it_passes_the_battery() -> None:
    assert check_regularizer(ClipValue(0.5)).count >= 17


@pytest.mark.parametrize("limit", [0.0, 1e-3, 0.7, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_it_is_torchs_clipping(limit: float, dtype: torch.dtype) -> None:
    grads = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    parameter = torch.zeros_like(grads)
    parameter.grad = grads.clone()
    torch.nn.utils.clip_grad_value_([parameter], limit)
    assert torch.equal(clip(limit, w=grads)["w"], parameter.grad)


def test_nan_stays_and_infinity_becomes_the_limit() -> None:
    found = clip(2.0, w=torch.tensor([math.nan, math.inf, -math.inf, 1.0]))["w"]
    assert math.isnan(found[0])
    assert found[1:].tolist() == [2.0, -2.0, 1.0]


def test_without_a_limit_infinity_stays() -> None:
    values = torch.tensor([math.inf, -math.inf, 3.0])
    assert torch.equal(clip(math.inf, w=values)["w"], values)


def test_each_member_has_its_own_limit() -> None:
    found = torch.vmap(lambda g, limit: ClipValue().at({"limit": limit}).gradient({"w": g}, {}, CTX)[0]["w"])(
        torch.tensor([[3.0, -4.0], [3.0, -4.0]]), torch.tensor([math.inf, 3.5])
    )
    assert found.tolist() == [[3.0, -4.0], [3.0, -3.5]]


def test_rows_of_a_sparse_gradient_that_occur_twice_are_summed_before_they_are_clipped() -> None:
    sparse = torch.sparse_coo_tensor([[4, 1, 4]], torch.tensor([[1.0], [1.0], [2.0]]), (6, 1), check_invariants=True)
    found = clip(2.5, w=sparse)["w"]
    assert found.is_sparse
    assert found.to_dense().flatten().tolist() == [0.0, 1.0, 0.0, 0.0, 2.5, 0.0]
