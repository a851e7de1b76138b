"""Mixed pictures: labels are shares that sum to 1, and the pictures are those shares of two."""

import base64

import numpy as np
import pytest
import torch
from scipy import stats

from poise.lab.figures.mixing import ROWS, Mixing, mixed, shares, words
from poise.lab.picture import SCENES, painted
from poise.lab.scene import Bars, Images, Plot

PICTURES = torch.stack([painted(scene) for scene in SCENES] * 2)


@pytest.mark.parametrize("method", ["mixup", "cut_mix", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_label_rows_sum_to_1_and_are_what_the_bars_show(method: str, smoothing: float) -> None:
    figure = Mixing()
    frame = figure.compute(figure.checked({"method": method, "smoothing": smoothing, "seed": 3}))
    _, labels = mixed(method, 1.0, smoothing, 3)
    assert labels.sum(1).tolist() == pytest.approx([1.0] * ROWS, abs=1e-6)
    plots = [panel for panel in frame.panels if isinstance(panel, Plot)][:ROWS]
    for plot, label in zip(plots, labels, strict=True):
        bars = next(mark for mark in plot.marks if isinstance(mark, Bars))
        assert list(bars.value) == label.tolist()
        assert sum(bars.value) == pytest.approx(1.0, abs=1e-6)


def test_a_mixup_is_the_labels_shares_of_the_scenes() -> None:
    pictures, labels = mixed("mixup", 1.0, 0.0, 0)
    expected = torch.einsum("rk,kchw->rchw", labels, PICTURES[:4])
    assert torch.allclose(pictures, expected, atol=1e-5)


def test_a_cut_mix_takes_whole_pixels_and_its_label_is_their_share() -> None:
    pictures, labels = mixed("cut_mix", 1.0, 0.0, 1)
    for row, label in enumerate(labels):
        own = (pictures[row] == PICTURES[row]).all(0)
        taken = (~own).float().mean()
        assert float(label[row % 4]) == pytest.approx(1 - float(taken), abs=0.02)  # scenes share a few pixels


def test_smoothing_spreads_after_mixing() -> None:
    _, plain = mixed("mixup", 1.0, 0.0, 0)
    _, smooth = mixed("mixup", 1.0, 0.2, 0)
    assert torch.allclose(smooth, 0.8 * plain + 0.05, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_drawn_law_is_the_beta_law(alpha: float) -> None:
    edges = np.linspace(0, 1, 21)
    expected = np.diff(stats.beta(alpha, alpha).cdf(edges))
    count = 4096
    apart = (np.array(shares(alpha, 0)) - expected) * count / np.sqrt(count * expected)
    assert float((apart**2).sum()) < stats.chi2(19).ppf(0.999)
    wrong = np.diff(stats.beta(alpha, 2 * alpha).cdf(edges))
    apart = (np.array(shares(alpha, 0)) - wrong) * count / np.sqrt(count * wrong)
    assert float((apart**2).sum()) > stats.chi2(19).ppf(0.999)


def test_captions_say_the_shares() -> None:
    assert words(torch.tensor([0.62, 0.38, 0.0, 0.0])) == "62 % house, 38 % boat"
    assert words(torch.tensor([0.0, 0.0, 1.0, 0.0])) == "100 % tree"


def test_without_mixing_the_pictures_are_the_scenes() -> None:
    frame = Mixing().compute(Mixing().checked({"method": "none"}))
    images = frame.panels[0]
    assert isinstance(images, Images)
    first = np.frombuffer(base64.b64decode(images.tiles[0].pixels), dtype=np.uint8)
    assert np.array_equal(first, (painted("house") * 255).round().byte().permute(1, 2, 0).numpy().ravel())
    assert "Nothing is mixed" in frame.notice
