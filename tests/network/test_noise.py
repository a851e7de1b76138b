"""Noise in hidden units and in weights: the law, the place, and that zero noise is nothing."""

import math

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.network import HiddenNoise, WeightNoise
from poise.testing import check_regularizer
from poise.testing.oracles import kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")


def normal_p_value(values: Tensor, deviation: float) -> float:
    return kolmogorov(0.5 * (1 + torch.erf(values.double() / (deviation * math.sqrt(2)))))


def weight_seen(model: nn.Sequential, x: Tensor) -> Tensor:
    seen: list[Tensor] = []
    model[0].register_forward_pre_hook(lambda host, _: seen.append(host._parameters["weight"].detach()))  # type: ignore[union-attr]
    model(x)
    return seen[0]


@pytest.mark.parametrize("part", [HiddenNoise(0.3), WeightNoise(0.3)])
def test_battery(part: HiddenNoise | WeightNoise) -> None:
    check_regularizer(part)


def test_hidden_noise_is_normal_with_deviation_scale_and_a_wrong_scale_is_caught() -> None:
    model = HiddenNoise(0.3).network(nn.Sequential(nn.ReLU()))
    noise = model(torch.full((1000, 1000), 2.0, dtype=torch.float64)) - 2.0
    assert normal_p_value(noise, 0.3) > 1e-6
    assert normal_p_value(noise, 0.306) < 1e-6
    uniform = (torch.rand(1_000_000) - 0.5) * 0.3 * math.sqrt(12)  # the same variance, another law
    assert normal_p_value(uniform, 0.3) < 1e-6


def test_weight_noise_is_normal_with_deviation_scale_and_a_wrong_scale_is_caught() -> None:
    model = WeightNoise(0.05).network(nn.Sequential(nn.Linear(1000, 1000)))
    assert isinstance(model, nn.Sequential)
    noise = weight_seen(model, torch.zeros(1, 1000)) - model[0].weight.detach()
    assert normal_p_value(noise, 0.05) > 1e-6
    assert normal_p_value(noise, 0.051) < 1e-6


def test_calls_and_layers_draw_independently() -> None:
    relu = nn.ReLU()
    model = HiddenNoise(1.0).network(nn.Sequential(relu, nn.Linear(1000, 1000, bias=False), relu))
    seen: list[Tensor] = []
    model[0].register_forward_hook(lambda *io: seen.append(io[2].detach()))
    torch.nn.init.zeros_(model[1].weight)
    model(torch.zeros(1000, 1000))
    correlation = float((seen[0].double() * seen[1].double()).mean())
    assert math.erfc(abs(correlation) * 1000 / math.sqrt(2)) > 1e-6  # of 10^6 products, deviation 1 / 1000
    assert math.erfc(float(seen[0].double().square().mean()) * 1000 / math.sqrt(2)) < 1e-6  # one draw twice is caught


def test_the_same_key_draws_the_same_noise_in_each_forward_pass() -> None:
    model = HiddenNoise(1.0).network(nn.Sequential(nn.ReLU()))
    assert torch.equal(model(torch.zeros(50)), model(torch.zeros(50)))


@pytest.mark.parametrize("part", [HiddenNoise(0.0), WeightNoise(0.0)])
def test_zero_noise_is_the_identity_to_the_bit(part: HiddenNoise | WeightNoise) -> None:
    bare = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    expected = bare(x)
    assert torch.equal(part.network(bare)(x), expected)


def test_evaluation_is_without_noise_also_for_layers_inserted_in_evaluation_mode() -> None:
    bare = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    x = torch.randn(5, 3)
    expected = bare(x)
    for part in (HiddenNoise(1.0), WeightNoise(1.0)):
        bare = part.network(bare)
        assert torch.equal(bare(x), expected)


def test_weight_noise_leaves_the_parameter_and_takes_the_gradient_at_the_noisy_weight() -> None:
    model = WeightNoise(0.5).network(nn.Sequential(nn.Linear(3, 1, bias=False)))
    assert isinstance(model, nn.Sequential)
    before = model[0].weight.detach().clone()
    x = torch.tensor([[1.0, 2.0, 3.0]])
    noisy = weight_seen(model, x)
    (0.5 * model(x).square()).sum().backward()
    assert torch.equal(model[0].weight, before)
    assert model[0].weight.grad is not None
    torch.testing.assert_close(model[0].weight.grad, (noisy @ x.T) * x)


@pytest.mark.parametrize("scale", [-0.1, math.nan, math.inf, "0.1", True])
def test_a_scale_that_is_not_a_finite_number_from_zero_is_refused(scale: object) -> None:
    for kind in (HiddenNoise, WeightNoise):
        with pytest.raises(ArgumentError, match=rf"`{kind.__name__}\.scale` must be a finite number >= 0; got"):
            kind(scale)  # type: ignore[arg-type]
