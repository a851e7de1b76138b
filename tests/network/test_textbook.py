"""Identities of the textbooks about dropout and noise, as exact tests."""

import itertools

import pytest
import torch
from torch import nn

from poise.network import Dropout, WeightNoise

pytestmark = pytest.mark.usefixtures("seeded")


def test_weight_scaling_is_the_geometric_mean_of_all_masks_of_a_softmax_regression() -> None:
    """Goodfellow, Bengio, Courville 2016, "Deep Learning", equations 7.55 to 7.66, at p = 1/2.

    Inverted scaling doubles the kept inputs, so evaluation with plain weights is the renormalised geometric mean.
    """
    units, classes = 8, 3
    model = Dropout(0.5).network(nn.Sequential(nn.ReLU(), nn.Linear(units, classes))).double()
    x = torch.rand(units, dtype=torch.float64)
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64)
    log_probabilities = model[1](masks * x / 0.5).log_softmax(-1)
    geometric = log_probabilities.mean(0).softmax(-1)
    torch.testing.assert_close(model.eval()(x).softmax(-1), geometric, rtol=1e-12, atol=1e-12)
    arithmetic = log_probabilities.exp().mean(0)
    assert float((arithmetic - geometric).detach().abs().max()) > 1e-3


def test_dropout_in_linear_regression_is_a_ridge_penalty_scaled_by_the_inputs() -> None:
    """Srivastava et al. 2014, section 9.1: E loss = loss + p / (1 - p) sum_k w_k^2 sum_i x_ik^2, over all masks."""
    p, units = 0.3, 6
    x, y = torch.rand(5, units, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    w = torch.randn(units, dtype=torch.float64)
    expected = torch.zeros((), dtype=torch.float64)
    for mask in itertools.product([0.0, 1.0], repeat=units):
        m = torch.tensor(mask, dtype=torch.float64)
        probability = (m * (1 - p) + (1 - m) * p).prod()
        expected = expected + probability * ((x * m / (1 - p)) @ w - y).square().sum()
    penalised = (x @ w - y).square().sum() + p / (1 - p) * (w.square() * x.square().sum(0)).sum()
    torch.testing.assert_close(penalised, expected, rtol=1e-12, atol=1e-12)
    # and our layer draws from that law: the mean over many calls is the penalised loss
    model = Dropout(p).network(nn.Sequential(nn.ReLU()))
    many = model(x.expand(100_000, 5, units)) @ w
    losses = (many - y).square().sum(-1)
    deviation = float(losses.std()) / 100_000**0.5
    assert abs(float(losses.mean()) - float(expected)) < 5 * deviation
    plain = float((x @ w - y).square().sum())
    assert abs(plain - float(expected)) > 5 * deviation  # without the penalty the test would fail


def test_weight_noise_in_linear_regression_is_a_penalty_on_the_inputs() -> None:
    """E ((w + s n) x - y)^2 = (w x - y)^2 + s^2 |x|^2: the squared gradient of the output by the weights."""
    scale, draws = 0.4, 20_000
    model = WeightNoise(scale).network(nn.Sequential(nn.Linear(3, draws, bias=False)))  # draws as output units
    w, x, y = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.0, 2.0, -0.5]), 0.7
    model[0].weight.data.copy_(w.expand(draws, 3))
    losses = (model(x).detach().double() - y).square()
    expected = float((w @ x - y).square() + scale**2 * x.square().sum())
    assert abs(float(losses.mean()) - expected) < 5 * float(losses.std()) / draws**0.5
