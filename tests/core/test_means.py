"""Weighted means over rows against repetition: a row of weight 3 counts as three rows."""

import pytest
import torch

from poise.core.means import each_row, row_mean, wide


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2)])
def test_a_weight_counts_as_that_many_rows(shape: tuple[int, ...]) -> None:
    values = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([3, 0, 1, 2])
    repeated = values.repeat_interleave(times, 0)
    torch.testing.assert_close(row_mean(values, times.double()), repeated.mean(), rtol=1e-14, atol=1e-16)
    torch.testing.assert_close(row_mean(values, None), values.mean(), rtol=1e-14, atol=1e-16)


def test_weights_of_zero_give_zero() -> None:
    assert float(row_mean(torch.tensor([1.0, 2.0]), torch.zeros(2))) == 0


def test_weights_take_the_values_type() -> None:
    found = row_mean(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0], dtype=torch.bfloat16))
    assert found.dtype == torch.float32
    assert float(found) == 1.75


def test_each_row_has_its_own_mean() -> None:
    assert each_row(torch.tensor([[[1.0], [3.0]], [[5.0], [7.0]]])).tolist() == [2.0, 6.0]


@pytest.mark.parametrize(("given", "found"), [("float16", "float32"), ("bfloat16", "float32"), ("float64", "float64")])
def test_narrow_types_are_widened(given: str, found: str) -> None:
    assert wide(torch.zeros(1, dtype=getattr(torch, given))).dtype == getattr(torch, found)
