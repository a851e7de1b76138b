"""Alpha dropout: torch's formula, and that SELU units keep their mean and variance."""

import math

import pytest
import torch
from torch import Tensor, nn

from poise.core.rng import key
from poise.network import AlphaDropout, Dropout
from poise.network.alpha_dropout import AlphaDropoutLayer
from poise.testing import check_regularizer
from poise.testing.oracles import mean_p_value, rate_p_value

N = 1_000_000
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
pytestmark = pytest.mark.usefixtures("seeded")


def layer(p: float) -> AlphaDropoutLayer:
    made = AlphaDropout(p).layer(nn.SELU())
    assert isinstance(made, AlphaDropoutLayer)
    return made


def standard_normals() -> Tensor:
    """A million numbers of mean 0 and variance 1, both exact to rounding."""
    x = torch.randn(N, dtype=torch.float64)
    return (x - x.mean()) / x.std(correction=0)


def test_battery() -> None:
    check_regularizer(AlphaDropout(0.2))


@pytest.mark.parametrize("p", [0.05, 0.3, 0.7])
def test_values_are_torchs_on_the_masks_drawn(p: float) -> None:
    x = torch.linspace(-2, 2, 1000, dtype=torch.float64)
    y, theirs = layer(p)(x), nn.AlphaDropout(p)(x)
    # Kept values lie on one line a x + b, dropped ones at one point: both can be read off torch's output.
    lowest = -SELU_ALPHA * SELU_SCALE
    a = ((1 - p) * (1 + p * lowest**2)) ** -0.5
    line, point = a * x - a * p * lowest, a * lowest - a * p * lowest
    for values in (y, theirs):
        kept = (values - line).abs() < 1e-6
        assert bool((kept | ((values - point).abs() < 1e-6)).all())
        assert 0 < int(kept.sum()) < 1000


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_rate_mean_and_variance_are_kept(p: float) -> None:
    x = standard_normals()
    y = layer(p)(x)
    torchs = nn.AlphaDropout(p)(x)
    point = float(y.mode().values)
    assert rate_p_value(y == point, p) > 1e-6
    for values in (y, torchs):
        assert mean_p_value(values, 0.0, 1.0) > 1e-6
        fourth = float(values.pow(4).mean()) - 1
        assert mean_p_value(values.square(), 1.0, math.sqrt(fourth)) > 1e-6


def test_dropout_and_a_sampler_without_the_affine_map_are_caught() -> None:
    x = standard_normals()
    plain = Dropout(0.3).layer(nn.SELU())(x)
    assert mean_p_value(plain.square(), 1.0, math.sqrt(float(plain.pow(4).mean()) - 1)) < 1e-6
    unmapped = torch.where(torch.rand(N) < 0.3, -SELU_ALPHA * SELU_SCALE, x)
    assert mean_p_value(unmapped, 0.0, 1.0) < 1e-6


def test_p_one_is_exact_zero_also_for_infinities_and_p_zero_and_evaluation_are_the_identity() -> None:
    x = torch.tensor([1.5, -2.0, math.inf, -math.inf, math.nan])
    assert torch.equal(layer(1.0)(x), torch.zeros(5))
    assert torch.equal(layer(0.0)(x[:4]), x[:4])
    assert layer(0.5).eval()(x) is x


def test_members_are_dropped_as_they_would_be_alone(population) -> None:  # type: ignore[no-untyped-def]
    model = AlphaDropout(0.3).network(nn.Sequential(nn.SELU()))
    x, p = torch.rand(3, 40, 7), torch.tensor([0.0, 0.3, 1.0])
    out, _, _ = population(model, x, p=p)
    for member in range(3):
        model[0].poise_alpha_dropout.key.copy_(key(0, member))
        model[0].poise_alpha_dropout.p.copy_(p[member])
        assert torch.equal(out[member], model(x[member]))


def test_it_stands_behind_selu_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.SELU(), nn.Linear(2, 2), nn.ReLU())
    assert [path for path, _ in AlphaDropout().find(model)] == ["1"]
    assert [path for path, _ in AlphaDropout(where="activations").find(model)] == ["1", "3"]
