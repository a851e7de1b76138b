"""Spectral decoupling against its formula and against where a single logit must come to rest."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.objective import SpectralDecoupling
from poise.testing import check_regularizer


def test_it_passes_the_battery() -> None:
    assert check_regularizer(SpectralDecoupling(0.3)).count >= 19


def test_it_is_half_the_mean_squared_logit(step: Any) -> None:
    expected = 0.5 * 0.3 * step.context().outputs.square().mean()
    torch.testing.assert_close(step.term(SpectralDecoupling(0.3)), expected, rtol=1e-12, atol=0)


def test_rows_count_by_their_weights(step: Any) -> None:
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    squares = step.context().outputs.square().mean(-1)
    expected = 0.15 * (weights * squares).sum() / weights.sum()
    torch.testing.assert_close(step.but(weights=weights).term(SpectralDecoupling(0.3)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("weight", [0.01, 0.3, 5.0])
def test_a_free_logit_rests_where_weight_times_it_is_the_chance_of_an_error(weight: float) -> None:
    """d/dz [log(1 + exp(-z)) + weight/2 z^2] = 0 where weight z = sigmoid(-z): the bound that stops the starvation."""
    z = torch.zeros(1, 1, dtype=torch.float64)

    def objective(z: torch.Tensor) -> torch.Tensor:
        terms, _ = SpectralDecoupling(weight).objective({}, {}, Context(0, Rng(key(0)), outputs=z))
        return F.softplus(-z).sum() + terms["spectral_decoupling"]

    for _ in range(200):
        slope, curvature = torch.func.grad(objective)(z), torch.func.jacrev(torch.func.grad(objective))(z).reshape(1, 1)
        z = z - slope / curvature
    torch.testing.assert_close(weight * z, torch.sigmoid(-z), rtol=1e-12, atol=0)


def test_squares_do_not_overflow_in_half_precision() -> None:
    outputs = torch.full((4, 2), 300.0, dtype=torch.float16)
    terms, _ = SpectralDecoupling(1.0).objective({}, {}, Context(0, Rng(key(0)), outputs=outputs))
    assert terms["spectral_decoupling"].dtype == torch.float32
    assert float(terms["spectral_decoupling"]) == 0.5 * 300.0**2
