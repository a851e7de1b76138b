"""Matrix products of the native tier against float64."""

from ctypes import c_int64, c_void_p

import pytest
import torch
from torch import Tensor

from poise.kernels import available
from poise.kernels.library import function
from poise.kernels.product import has_bfloat16

_products = function("poise_products", *[c_int64] * 4, *[c_void_p] * 3, c_int64, c_int64)

pytestmark = pytest.mark.skipif(not available(), reason="the native kernels are not in use")


def product(left: Tensor, right: Tensor, turned: int, narrow: bool = False) -> Tensor:
    """Left (M, R, K) times right (M, K, C); bit 1 of `turned`: left is stored (M, K, R), bit 2: right (M, C, K)."""
    a = left.mT.contiguous() if turned & 1 else left.contiguous()
    b = right.mT.contiguous() if turned & 2 else right.contiguous()
    out = torch.empty(left.shape[0], left.shape[1], right.shape[2])
    _products(*out.shape, left.shape[2], a.data_ptr(), b.data_ptr(), out.data_ptr(), turned, narrow)
    return out


@pytest.mark.parametrize("turned", range(4))
@pytest.mark.parametrize("rows", [1, 7, 8, 33])
@pytest.mark.parametrize("columns", [1, 5, 16, 17, 32, 70])
@pytest.mark.parametrize("depth", [1, 64, 513])
def test_products_are_those_of_float64(rows: int, columns: int, depth: int, turned: int) -> None:
    left, right = torch.randn(2, rows, depth), torch.randn(2, depth, columns)
    exact = left.double() @ right.double()
    bound = 1e-6 * (left.abs().double() @ right.abs().double())
    assert bool(((product(left, right, turned) - exact).abs() <= bound).all())


@pytest.mark.parametrize("turned", range(4))
@pytest.mark.parametrize("rows", [1, 8, 33, 130])
@pytest.mark.parametrize("columns", [1, 16, 17, 70])
@pytest.mark.parametrize("depth", [1, 2, 33, 64, 513])
def test_narrow_products_are_those_of_rounded_operands(rows: int, columns: int, depth: int, turned: int) -> None:
    """Rounded by torch, multiplied and summed in float64: what differs is the rounding of float32 sums."""
    left, right = torch.randn(2, rows, depth), torch.randn(2, depth, columns)
    found = product(left, right, turned, narrow=True)
    if not has_bfloat16():
        assert torch.equal(found, product(left, right, turned))
        return
    exact = left.bfloat16().double() @ right.bfloat16().double()
    bound = 1e-6 * (left.abs().double() @ right.abs().double())
    assert bool(((found - exact).abs() <= bound).all())


@pytest.mark.skipif(not has_bfloat16(), reason="no processor with AVX-512 BF16, or an old compiler")
def test_narrow_operands_are_rounded_to_nearest_and_ties_to_even() -> None:
    left = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 3e38, torch.inf]).view(1, 6, 1)
    found = product(left, torch.ones(1, 1, 1), 0, narrow=True).flatten()
    assert found[:4].tolist() == [1, 1 + 2**-6, 1 + 2**-7, -1]
    assert torch.equal(found, left.bfloat16().float().flatten())


@pytest.mark.parametrize("narrow", [False, True])
def test_a_row_does_not_depend_on_the_rows_and_members_beside_it(narrow: bool) -> None:
    left, right = torch.randn(5, 19, 40), torch.randn(5, 40, 21)
    whole = product(left, right, 0, narrow)
    assert torch.equal(product(left[3:4], right[3:4], 0, narrow), whole[3:4])
    assert torch.equal(product(left[:, 11:13], right, 0, narrow), whole[:, 11:13])


@pytest.mark.parametrize("narrow", [False, True])
def test_nan_stays_in_its_row(narrow: bool) -> None:
    left, right = torch.ones(1, 9, 4), torch.ones(1, 4, 3)
    left[0, 2, 1] = torch.nan
    assert torch.isnan(product(left, right, 0, narrow)).all(-1)[0].nonzero().flatten().tolist() == [2]
