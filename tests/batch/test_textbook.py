"""Identities of the textbooks about noise in the inputs."""

import pytest
import torch

from poise.batch import InputNoise

pytestmark = pytest.mark.usefixtures("seeded")

DRAWS = 200_000


def losses(run, model, x, y, scale, seed=0):  # type: ignore[no-untyped-def]
    """The squared loss of one row under DRAWS draws of noise."""
    noisy = run(InputNoise(scale), x.expand(DRAWS, -1), torch.zeros(DRAWS), seed=seed).inputs
    return (model(noisy) - y).square()


def test_for_a_linear_model_input_noise_is_an_l2_penalty_exactly(run) -> None:  # type: ignore[no-untyped-def]
    """Bishop 1995, equation 20 (without a factor half): E loss = loss + scale^2 |w|^2, for every row and scale."""
    w = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    x, y = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64), 0.7
    for scale in (0.1, 2.0):
        drawn = losses(run, lambda v: v @ w, x, y, scale)
        loss = float((x @ w - y).square())
        deviation = float(drawn.std()) / DRAWS**0.5
        expected = loss + scale**2 * float(w.square().sum())
        assert abs(float(drawn.mean()) - expected) < 5 * deviation
        wrong = loss + 0.5 * scale**2 * float(w.square().sum())  # the half that other conventions have
        assert abs(float(drawn.mean()) - wrong) > 5 * deviation or scale == 0.1


def test_for_a_smooth_model_small_noise_is_a_gradient_and_curvature_penalty(run) -> None:  # type: ignore[no-untyped-def]
    """Bishop 1995, equation 8: E loss = loss + scale^2 (|f'|^2 + (f - y) tr f'') + O(scale^4)."""
    w = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    x, y, scale = torch.tensor([[0.3, 0.2, 0.1]], dtype=torch.float64), 0.0, 0.05
    out = torch.tanh(x @ w)
    slope = 1 - out.square()
    penalty = (slope.square() + (out - y) * (-2 * out * slope)) * w.square().sum()
    drawn = losses(run, lambda v: torch.tanh(v @ w), x, y, scale)
    # The part linear in the noise has mean zero; taken out, what is left to average has a small deviation.
    noisy = run(InputNoise(scale), x.expand(DRAWS, -1), torch.zeros(DRAWS)).inputs
    linear = 2 * (out - y) * slope * ((noisy - x) @ w)
    rest = drawn - float((out - y).square()) - linear
    deviation = float(rest.std()) / DRAWS**0.5
    fourth_order = scale**4 * float(w.square().sum()) ** 2 * 5
    assert abs(float(rest.mean()) - scale**2 * float(penalty)) < 5 * deviation + fourth_order
    assert abs(float(rest.mean())) > 10 * (deviation + fourth_order)
