"""Batch norm's figure against torch's own layer, and its histograms against the tensors."""

import copy

import pytest
import torch
from torch import nn

from poise.lab.figures.batchnorm import (
    BINS,
    UNSEEN,
    BatchNormFigure,
    deep_network,
    hidden_values,
    trained_statistics,
)
from poise.lab.scene import Bars, Line, Plot


def with_torch(model: nn.Sequential) -> nn.Sequential:
    """The network with torch.nn.BatchNorm1d behind each hidden layer."""
    layers: list[nn.Module] = []
    for place, layer in enumerate(copy.deepcopy(model)):
        layers.append(layer)
        if isinstance(layer, nn.Linear) and place < len(model) - 1:
            layers.append(nn.BatchNorm1d(layer.out_features))
    return nn.Sequential(*layers)


def last_of_torch(model: nn.Sequential, rows: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model[:-2](rows)  # without the last activation and the output


@pytest.mark.parametrize("state", [{}, {"gain": 2.0, "size": 32}, {"depth": 2, "size": 2}])
def test_numbers_in_training_are_those_of_torchs_layer(state: dict[str, object]) -> None:
    figure = BatchNormFigure()
    whole = figure.checked(state)
    numbers = {number.label: number.value for number in figure.compute(whole).numbers}
    plain = deep_network(int(whole["depth"]), float(whole["gain"]), 0)
    rows = torch.randn(int(whole["size"]), 10, generator=torch.Generator().manual_seed(0))
    last = last_of_torch(with_torch(plain), rows).double()
    assert numbers["last spread, with batch norm"] == pytest.approx(float(last.std(unbiased=False)), rel=1e-4)
    assert numbers["last mean, with batch norm"] == pytest.approx(float(last.mean()), abs=1e-5)
    bare = last_of_torch(plain, rows).double()
    assert numbers["last spread, without"] == pytest.approx(float(bare.std(unbiased=False)), rel=1e-5)
    assert numbers["last mean, without"] == pytest.approx(float(bare.mean()), rel=1e-4, abs=1e-6)


def test_numbers_in_evaluation_are_those_of_torchs_running_statistics() -> None:
    figure = BatchNormFigure()
    numbers = figure.compute(figure.checked({"evaluate": True, "shift": 1.5, "size": 16})).numbers
    twin = with_torch(deep_network(6, 0.5, 0))
    with torch.no_grad():
        for number in range(40):
            twin(torch.randn(16, 10, generator=torch.Generator().manual_seed(1000 + number)))
    rows = torch.randn(UNSEEN, 10, generator=torch.Generator().manual_seed(3000)) + 1.5
    last = last_of_torch(twin.eval(), rows).double()
    assert numbers[0].value == pytest.approx(float(last.mean()), rel=1e-3)
    assert numbers[1].value == pytest.approx(float(last.std(unbiased=False)), rel=1e-3)


def test_the_claim_holds_at_rest_and_not_without() -> None:
    figure = BatchNormFigure()
    mean, spread, _, bare, _ = (number.value for number in figure.compute(figure.start()).numbers)
    assert abs(mean) < 1e-5
    assert spread == pytest.approx(1.0, abs=1e-3)
    assert bare < 0.05


def test_histograms_hold_every_value_of_the_tensors() -> None:
    figure = BatchNormFigure()
    frame = figure.compute(figure.checked({"depth": 3, "gain": 1.0}))
    model = deep_network(3, 1.0, 0)
    rows = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    values = hidden_values(model, rows)
    small = [panel for panel in frame.panels if isinstance(panel, Plot) and panel.small]
    assert len(small) == 3
    for plot, layer in zip(small, values, strict=True):
        bars = next(mark for mark in plot.marks if isinstance(mark, Bars))
        assert sum(bars.value) == pytest.approx(1.0)
        line = next(mark for mark in plot.marks if isinstance(mark, Line))
        middle = float((layer.abs() < 4 / BINS).double().mean())
        assert line.y[BINS // 2] == pytest.approx(min(middle, 0.5), abs=1e-6)


def test_two_rows_become_plus_and_minus_one() -> None:
    figure = BatchNormFigure()
    frame = figure.compute(figure.checked({"size": 2, "depth": 1}))
    bars = frame.panels[0].marks[0]  # type: ignore[union-attr]
    width = 8 / BINS
    places = [middle for middle, share in zip(bars.at, bars.value, strict=True) if share > 0.02]  # type: ignore[union-attr]
    assert all(min(abs(place - 1), abs(place + 1)) <= width for place in places)
    assert "2 rows" in frame.notice


def test_a_larger_batch_moves_a_row_less() -> None:
    figure = BatchNormFigure()
    noise = [figure.compute(figure.checked({"size": size, "depth": 1})).numbers[-1].value for size in (4, 16, 64, 256)]
    assert noise == sorted(noise, reverse=True)
    assert figure.compute(figure.checked({"evaluate": True})).numbers[-1].value == 0.0


def test_a_frame_does_not_move_the_running_statistics() -> None:
    model = trained_statistics(2, 1.0, 16, 0)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    figure = BatchNormFigure()
    figure.compute(figure.checked({"evaluate": True, "depth": 2, "gain": 1.0, "size": 16, "shift": 2.0}))
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
