"""The copy that an average keeps."""

import pytest
import torch

from poise.average.shadow import shadow


@pytest.mark.parametrize(
    ("given", "kept"),
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.bfloat16, torch.float32)],
)
def test_it_is_at_least_float32_and_shares_no_memory(given: torch.dtype, kept: torch.dtype) -> None:
    weight = torch.ones(3, dtype=given, requires_grad=True)
    copy = shadow(weight)
    with torch.no_grad():
        weight.mul_(5)
    assert copy.dtype == kept
    assert copy.tolist() == [1.0, 1.0, 1.0]
    assert not copy.requires_grad
