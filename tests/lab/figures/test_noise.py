"""Label smoothing against torch's own, and noise against the penalties that it equals in expectation."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from poise.lab.figures.noise import COPIES, DRAWS, Noise, answers, fitted_with_noise
from poise.lab.figures.smoothing import Smoothing, losses, targets
from poise.lab.samples import columns, wave_network
from poise.lab.scene import Band, Bars, Dots, Frame, Plot, Rule

SMOOTH, NOISE = Smoothing(), Noise()


def smooth(**values: object) -> Frame:
    return SMOOTH.compute(SMOOTH.checked(values))


def noisy(**values: object) -> Frame:
    return NOISE.compute(NOISE.checked(values))


@pytest.mark.parametrize("classes", [2, 5, 100])
@pytest.mark.parametrize("amount", [0.0, 0.1, 1.0])
def test_targets_loss_and_slope_are_torchs(classes: int, amount: float) -> None:
    assert float(targets(classes, amount).sum()) == pytest.approx(1.0, abs=1e-12)
    gap = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    logits = torch.cat([gap[None], torch.zeros(classes - 1, dtype=torch.float64)])
    oracle = F.cross_entropy(logits[None], torch.tensor([0]), label_smoothing=amount)
    oracle.backward()
    assert gap.grad is not None
    frame = smooth(classes=classes, amount=amount, gap=2.5)
    assert frame.numbers[3].value == pytest.approx(oracle.item(), rel=1e-9)
    assert frame.numbers[4].value == pytest.approx(gap.grad.item(), rel=1e-9)


@pytest.mark.parametrize(("classes", "amount"), [(5, 0.1), (2, 0.3), (100, 0.05)])
def test_the_best_gap_is_the_lowest_point_of_the_loss(classes: int, amount: float) -> None:
    frame = smooth(classes=classes, amount=amount)
    gaps = torch.linspace(0, 12, 24_001, dtype=torch.float64)
    found, slope = losses(gaps, targets(classes, amount))
    lowest = float(gaps[found.argmin()])
    assert frame.numbers[2].value == pytest.approx(lowest, abs=1e-3)
    assert float(slope[gaps < lowest - 0.01].max()) < 0 < float(slope[gaps > lowest + 0.01].min())
    panel = frame.panels[1]
    assert isinstance(panel, Plot)
    assert [mark.x for mark in panel.marks if isinstance(mark, Rule)] == [frame.numbers[2].value]


def test_without_smoothing_the_loss_falls_for_ever_and_the_figure_says_so() -> None:
    frame = smooth(amount=0.0)
    assert math.isnan(frame.numbers[2].value)
    assert "for ever" in frame.notice
    gaps = torch.linspace(0, 30, 301, dtype=torch.float64)
    found, slope = losses(gaps, targets(5, 0.0))
    assert bool((found.diff() < 0).all())
    assert bool((slope < 0).all())


def test_nothing_is_left_to_learn_when_all_is_spread() -> None:
    frame = smooth(amount=1.0)
    assert frame.numbers[2].value == pytest.approx(0.0, abs=1e-12)
    assert "nothing is left" in frame.notice


def test_bars_stand_for_the_target_and_at_most_twelve_classes_are_drawn() -> None:
    for classes in (2, 12, 40):
        panel = smooth(classes=classes).panels[0]
        assert isinstance(panel, Plot)
        bars = panel.marks[0]
        assert isinstance(bars, Bars)
        assert list(bars.value) == targets(classes, 0.1)[:12].tolist()


def ridge(features: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """Weights of least mean squared error + strength/2 |w|^2, the bias free."""
    centred = features - features.mean(0)
    matrix = centred.T @ centred / len(y) + strength / 2 * np.eye(features.shape[1])
    return np.linalg.solve(matrix, centred.T @ (y - y.mean()) / len(y))


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_noise_in_the_inputs_is_ridge_of_twice_its_variance(scale: float, seed: int) -> None:
    x, y = (value.numpy() for value in columns(40, 2.0, seed))
    found, equal = (value.numpy() for value in fitted_with_noise("inputs", scale, seed))
    np.testing.assert_allclose(equal, ridge(x, y, 2 * scale**2), rtol=1e-8)
    # The mean over copies differs from the expectation by a tenth of what one copy does.
    near = np.abs(found - equal).max()
    assert near < 0.25
    for wrong in (0.0, scale**2, 4 * scale**2):
        if scale > 0.3:
            assert near < np.abs(found - ridge(x, y, wrong)).max()


def test_noise_in_the_units_is_ridge_on_the_output_weights() -> None:
    model, x, y = wave_network(0)
    with torch.no_grad():
        features = torch.tanh(model[0](x)).numpy()
    found, equal = (value.numpy() for value in fitted_with_noise("units", 0.4, 0))
    np.testing.assert_allclose(equal, ridge(features, y.numpy(), 2 * 0.4**2), rtol=1e-7)
    assert np.abs(found - equal).max() < 0.1
    assert np.abs(found - ridge(features, y.numpy(), 0.4**2)).max() > np.abs(found - equal).max()


def test_noise_in_the_weights_of_a_linear_model_is_no_penalty() -> None:
    x, y = (value.numpy() for value in columns(40, 2.0, 0))
    found, equal = (value.numpy() for value in fitted_with_noise("weights", 0.3, 0))
    np.testing.assert_allclose(equal, ridge(x, y, 0.0), rtol=1e-8)
    assert np.abs(found - equal).max() < 0.2
    assert "no penalty" in noisy(kind="weights").notice


@pytest.mark.parametrize("kind", ["units", "weights"])
def test_answers_spread_by_what_the_noise_carries_to_the_output(kind: str) -> None:
    """By first order: the noise times the slope of the answer, in quadrature, for a small noise."""
    scale = 0.01
    still, many = answers(kind, scale, 0)
    spread = many.std(0, unbiased=False)
    from poise.lab.figures.noise import _trained

    model = _trained(0)
    grid = torch.linspace(-1, 1, 61, dtype=torch.float64)[:, None]
    if kind == "units":
        slopes = model[2].weight.detach().norm().expand(61)
    else:
        weights = [p for p in model.parameters() if p.dim() > 1]
        rows = [torch.autograd.grad(model(one[None]).sum(), weights) for one in grid]
        slopes = torch.stack([sum(part.square().sum() for part in row).sqrt() for row in rows])  # type: ignore[union-attr]
    assert torch.allclose((spread / (scale * slopes)).mean(), torch.tensor(1.0, dtype=torch.float64), atol=0.15)
    assert still.shape == (61,)
    assert many.shape == (DRAWS, 61)


def test_without_noise_every_answer_is_the_same() -> None:
    for kind in ("inputs", "units", "weights"):
        still, many = answers(kind, 0.0, 0)
        assert torch.allclose(many, still.expand_as(many), atol=1e-12)
        assert noisy(kind=kind, scale=0.0).numbers[2].value == pytest.approx(0.0, abs=1e-12)


def test_the_band_holds_two_thirds_of_the_answers() -> None:
    frame = noisy(kind="units")
    panel = frame.panels[0]
    assert isinstance(panel, Plot)
    band = panel.marks[0]
    assert isinstance(band, Band)
    _, many = answers("units", float(NOISE.start()["scale"]), 0)
    inside = (many >= torch.tensor(band.low)) & (many <= torch.tensor(band.high))
    assert float(inside.double().mean()) == pytest.approx(2 / 3, abs=0.03)


def test_rings_meet_bars_and_crosses_stand_apart() -> None:
    panel = noisy(scale=1.0).panels[1]
    assert isinstance(panel, Plot)
    bars, neither, rings = panel.marks
    assert isinstance(bars, Bars)
    assert isinstance(neither, Dots)
    assert isinstance(rings, Dots)
    to_rings = np.abs(np.array(bars.value) - np.array(rings.y)).max()
    assert to_rings < 0.25 * np.abs(np.array(bars.value) - np.array(neither.y)).max()
    assert COPIES == 100
