"""Gaussian dropout: the law of its factor."""

import math

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.rng import key
from poise.network import Dropout, GaussianDropout, HiddenNoise
from poise.testing import check_regularizer
from poise.testing.oracles import kolmogorov, mean_p_value

N = 1_000_000
pytestmark = pytest.mark.usefixtures("seeded")


def ranks(factors: Tensor, p: float) -> Tensor:
    """The factors through the distribution function of N(1, p / (1 - p))."""
    return torch.special.ndtr((factors.double() - 1) / math.sqrt(p / (1 - p)))


def test_battery() -> None:
    check_regularizer(GaussianDropout(0.3))


@pytest.mark.parametrize("p", [0.02, 0.2, 0.5, 0.9])
def test_the_factor_is_normal_with_the_mean_and_variance_of_dropout(p: float) -> None:
    factors = GaussianDropout(p).layer(nn.ReLU())(torch.ones(N, dtype=torch.float64))
    assert kolmogorov(ranks(factors, p)) > 1e-6
    assert mean_p_value(factors, 1.0, math.sqrt(p / (1 - p))) > 1e-6


def test_it_multiplies() -> None:
    x = torch.full((N,), -3.0, dtype=torch.float64)
    assert kolmogorov(ranks(GaussianDropout(0.2).layer(nn.ReLU())(x) / x, 0.2)) > 1e-6
    added = HiddenNoise(math.sqrt(0.25)).layer(nn.ReLU())(x)
    assert kolmogorov(ranks(added / x, 0.2)) < 1e-6


def test_wrong_samplers_are_caught() -> None:
    ones = torch.ones(N)
    kept_for_dropped = GaussianDropout(0.8).layer(nn.ReLU())(ones)  # the paper's p is the share kept
    assert kolmogorov(ranks(kept_for_dropped, 0.2)) < 1e-6
    half_a_point_off = GaussianDropout(0.205).layer(nn.ReLU())(ones)
    assert kolmogorov(ranks(half_a_point_off, 0.2)) < 1e-6
    zeros_and_ones = Dropout(0.2).layer(nn.ReLU())(ones)
    assert kolmogorov(ranks(zeros_and_ones, 0.2)) < 1e-6


def test_p_zero_and_evaluation_are_the_identity_to_the_bit() -> None:
    x = torch.tensor([1.5, -2.0, math.inf, -math.inf])
    assert torch.equal(GaussianDropout(0.0).layer(nn.ReLU())(x), x)
    assert GaussianDropout(0.5).layer(nn.ReLU()).eval()(x) is x


def test_members_get_noise_each_at_its_own_rate(population) -> None:  # type: ignore[no-untyped-def]
    model = GaussianDropout(0.3).network(nn.Sequential(nn.ReLU()))
    x, p = torch.rand(3, 40, 7), torch.tensor([0.0, 0.3, 0.9])
    out, _, _ = population(model, x, p=p)
    for member in range(3):
        model[0].poise_gaussian_dropout.key.copy_(key(0, member))
        model[0].poise_gaussian_dropout.p.copy_(p[member])
        assert torch.equal(out[member], model(x[member]))


def test_a_rate_of_one_is_refused_because_its_variance_is_infinite() -> None:
    with pytest.raises(ArgumentError, match=r"`GaussianDropout\.p` must be in \[0, 1\); got 1\.0"):
        GaussianDropout(1.0)
