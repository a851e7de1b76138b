"""Counts of real modules by formula, and drawn matrices that do what the modules do."""

import pytest
import torch
from torch import nn

from poise.lab.figures.sharing import Sharing, compared, dense_of
from poise.lab.scene import Bars, Heat


def counts_of(state: dict[str, object]) -> dict[str, float]:
    figure = Sharing()
    numbers = figure.compute(figure.checked(state)).numbers
    return {n.label.removeprefix("parameters, "): n.value for n in numbers if n.label.startswith("parameters, ")}


@pytest.mark.parametrize(("size", "kernel", "channels"), [(16, 3, 1), (24, 9, 6), (9, 9, 2)])
def test_counts_over_places(size: int, kernel: int, channels: int) -> None:
    places = size - kernel + 1
    found = counts_of({"kind": "space", "size": size, "kernel": kernel, "channels": channels})
    assert found == {
        "convolution": kernel * channels,
        "own weights at each place": kernel * channels * places,
        "dense": size * channels * places,
    }


def test_counts_over_time_and_of_words() -> None:
    found = counts_of({"kind": "time", "size": 8, "kernel": 3, "channels": 4})
    once = 4 * 3 + 4 * 4 + 4 + 4
    assert found == {"recurrence": once, "own weights at each step": 8 * once, "dense": 24 * 32 + 32}
    assert counts_of({"kind": "words", "size": 16, "channels": 6}) == {"tied": 96, "own tables": 192}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_drawn_matrix_is_the_convolution(channels: int) -> None:
    found = compared("space", 12, 4, channels, 5)
    rows = torch.randn(20, 12)
    for name in ("convolution", "own weights at each place"):
        answers = found.modules[name](rows[:, None, None, :]).flatten(1)
        assert torch.allclose(rows @ found.matrices[name].T, answers, atol=1e-5)
    assert torch.equal(found.matrices["dense"], found.modules["dense"].weight)  # type: ignore[arg-type]


def test_a_convolution_repeats_its_weights_along_the_diagonals() -> None:
    found = compared("space", 10, 3, 1, 0)
    matrix, weights = found.matrices["convolution"], found.modules["convolution"].weight.flatten()  # type: ignore[union-attr]
    for place in range(8):
        assert torch.equal(matrix[place, place : place + 3], weights)  # type: ignore[arg-type]
        assert int((matrix[place] != 0).sum()) == 3
    own = found.matrices["own weights at each place"]
    assert len(torch.unique(own[own != 0])) == 24


def test_every_step_of_a_recurrence_uses_the_same_row_and_untied_ones_do_not() -> None:
    found = compared("time", 6, 2, 3, 0)
    tied, untied = found.matrices["recurrence"], found.matrices["own weights at each step"]
    assert torch.equal(tied, tied[:1].expand_as(tied))
    assert len(torch.unique(untied, dim=0)) == 6
    assert found.difference < 1e-6


def test_heats_and_bars_are_these_matrices_and_counts() -> None:
    figure = Sharing()
    frame = figure.compute(figure.start())
    found = compared("space", 16, 3, 1, 1)
    heats = [panel for panel in frame.panels if isinstance(panel, Heat)]
    assert [heat.values for heat in heats] == [matrix.flip(0).tolist() for matrix in found.matrices.values()]
    bars = frame.panels[-1].marks[0]  # type: ignore[union-attr]
    assert isinstance(bars, Bars)
    assert list(bars.value) == [3, 42, 224]


def test_a_dense_layer_is_not_taken_for_a_convolution() -> None:
    """The check of equality can fail: another layer's matrix is far from it."""
    conv, other = nn.Conv2d(1, 1, (1, 3), bias=False), nn.Conv2d(1, 1, (1, 3), bias=False)
    rows = torch.randn(4, 8)
    assert not torch.allclose(rows @ dense_of(conv, 8).T, other(rows[:, None, None, :]).flatten(1), atol=1e-2)
