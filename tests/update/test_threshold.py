"""The soft threshold against its definition as a minimiser, and the identities every proximal operator obeys."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from poise.update.threshold import soft_threshold


def draw(seed: int, size: int = 200) -> torch.Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("w", [-2.0, -0.3, 0.0, 0.29, 0.3, 5.0])
def test_it_minimises_the_penalty_plus_the_distance(w: float) -> None:
    found = minimize_scalar(lambda z: 0.3 * abs(z) + (z - w) ** 2 / 2, bounds=(-6, 6), options={"xatol": 1e-12})
    assert float(soft_threshold(torch.tensor(w), torch.tensor(0.3))) == pytest.approx(found.x, abs=1e-6)


def test_threshold_zero_is_the_identity_bit_for_bit() -> None:
    w = torch.cat([draw(0), torch.tensor([0.0, math.inf, -math.inf, 1e-310])])
    assert torch.equal(soft_threshold(w, torch.zeros_like(w)), w)


def test_large_threshold_gives_exact_zeros() -> None:
    assert torch.equal(soft_threshold(draw(0), torch.tensor(1e3)), torch.zeros(200, dtype=torch.float64))


def test_nan_stays_nan_so_that_divergence_is_seen() -> None:
    assert bool(soft_threshold(torch.tensor(math.nan), torch.tensor(1.0)).isnan())


def test_it_is_firmly_non_expansive() -> None:
    a, b = draw(1), draw(2)
    gap = soft_threshold(a, torch.tensor(0.4)) - soft_threshold(b, torch.tensor(0.4))
    assert bool((gap * gap <= gap * (a - b) + 1e-15).all())


def test_moreau_identity_holds() -> None:
    w = draw(3)
    # prox of t|.| plus the projection onto its conjugate's domain [-t, t] is the identity.
    projection = torch.from_numpy(np.clip(w.numpy(), -0.4, 0.4))
    new = soft_threshold(w, torch.tensor(0.4, dtype=torch.float64))
    torch.testing.assert_close(new + projection, w, rtol=1e-15, atol=1e-16)
