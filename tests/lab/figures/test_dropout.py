"""The drawn masks: the library's layers asked directly, and each thinned network computed by hand in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import poise
from poise.core.inserted import inserted_layers
from poise.lab.figures.dropout import DropoutFigure, averaged, masked
from poise.lab.samples import masked_network
from poise.lab.scene import Frame, Heat, Network, Plot

FIGURE = DropoutFigure()


def frame_of(**values: object) -> Frame:
    return FIGURE.compute(FIGURE.checked(values))


def drawing(frame: Frame) -> Network:
    assert isinstance(frame.panels[0], Network)
    return frame.panels[0]


def asked_directly(p: float, number: int, layers: int = 2, width: int = 7) -> list[list[bool]]:
    """The masks of the library's layers, each given ones under the key of `number`, without the network."""
    model, _ = masked_network("dropout", layers, width)
    poise.insert(model, poise.Dropout(p), seed=number)
    return [(layer(torch.ones(1, width))[0] != 0).tolist() for _path, layer in inserted_layers(model)][:layers]


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_grey_units_are_the_zeros_of_the_librarys_mask(number: int, p: float) -> None:
    frame = frame_of(p=p, seed=number)
    hidden = [[not node.dropped for node in layer] for layer in drawing(frame).layers[1:-1]]
    assert hidden == asked_directly(p, number)
    assert frame.numbers[0].value == sum(sum(layer) for layer in hidden)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_hand(masks: tuple[Tensor, ...], factor: float, scale: float) -> float:
    """The answer of the thinned network: kept units times `factor`, the weights behind them times `scale`."""
    model, inputs = masked_network("dropout", len(masks), len(masks[0]))
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    values = inputs[0].double().numpy()
    for place, layer in enumerate(layers):
        weight = layer.weight.detach().double().numpy() * (1.0 if place == 0 else scale)
        values = weight @ values + layer.bias.detach().double().numpy()
        if place < len(masks):
            values = sigmoid(values) * masks[place].double().numpy() * factor
    return float(values[0])


@pytest.mark.parametrize("p", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("layers", [1, 3])
def test_both_conventions_are_what_they_say(p: float, layers: int) -> None:
    kept = torch.ones(5, dtype=torch.bool)
    for convention, in_training, at_test in (("train", 1 / (1 - p), 1.0), ("test", 1.0, 1 - p)):
        frame = frame_of(p=p, layers=layers, width=5, convention=convention, seed=4)
        found = masked("dropout", layers, 5, p, convention, 4)
        numbers = [number.value for number in frame.numbers]
        assert numbers[1:3] == [in_training, at_test]
        assert numbers[3] == pytest.approx(by_hand(found.masks, in_training, 1.0), rel=1e-4, abs=1e-5)
        assert numbers[5] == pytest.approx(by_hand((kept,) * layers, 1.0, at_test), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("convention", ["train", "test"])
@pytest.mark.parametrize("kind", ["dropout", "spatial"])
def test_with_one_hidden_layer_the_mean_of_the_masks_is_the_full_network(kind: str, convention: str) -> None:
    answers, full = averaged(kind, 1, 5, 0.5, convention)
    error = float(answers.double().std()) / math.sqrt(len(answers))
    assert abs(float(answers.double().mean()) - full) < 4 * error
    # A wrong sampler, which forgets the factor, is caught: only half of what is beyond the bias would arrive.
    bias = masked_network(kind, 1, 5)[0][-1].bias.item()  # type: ignore[operator,union-attr]  # a parameter
    assert abs(bias + 0.5 * (float(answers.double().mean()) - bias) - full) > 8 * error


def test_the_mean_of_weights_dropped_is_near_the_full_network() -> None:
    answers, full = averaged("dropconnect", 1, 7, 0.5, "train")
    spread = float(answers.double().std())
    assert abs(float(answers.double().mean()) - full) < spread / 2


def test_a_feature_map_is_dropped_at_every_place() -> None:
    for number in range(5):
        frame = frame_of(kind="spatial", seed=number)
        heat = frame.panels[1]
        assert isinstance(heat, Heat)
        gone = np.isnan(np.array(heat.values))
        assert (gone.all(1) == gone.any(1)).all()
        assert gone.all(1).tolist() == [node.dropped for node in drawing(frame).layers[1]]


def test_dropconnect_drops_weights_and_no_unit() -> None:
    frame = frame_of(kind="dropconnect", seed=3)
    network = drawing(frame)
    assert not any(node.dropped for layer in network.layers for node in layer)
    hidden = [np.array(edges, dtype=float) for edges in network.edges[:-1]]
    kept = sum(int(np.isfinite(edges).sum()) for edges in hidden)
    assert frame.numbers[0].value == kept
    assert frame.numbers[0].text == f"{kept} of {sum(edges.size for edges in hidden)}"
    assert 0 < kept < sum(edges.size for edges in hidden)
    assert np.isfinite(np.array(network.edges[-1], dtype=float)).all()


def test_no_edge_leads_to_or_from_a_dropped_unit() -> None:
    network = drawing(frame_of(seed=1))
    dropped = [[node.dropped for node in layer] for layer in network.layers]
    for place, edges in enumerate(network.edges):
        weights = np.array(edges)
        assert not weights[dropped[place + 1]].any()
        assert not weights[:, dropped[place]].any()
        assert weights[np.ix_(np.invert(dropped[place + 1]), np.invert(dropped[place]))].all()


def test_a_press_draws_the_next_mask() -> None:
    press = drawing(frame_of()).press
    assert press is not None
    assert (press.control, press.step) == ("seed", 1)
    masks = [[node.dropped for layer in drawing(frame_of(seed=n)).layers for node in layer] for n in range(8)]
    assert len({tuple(mask) for mask in masks}) == 8


def test_without_dropout_nothing_is_grey_and_all_answers_agree() -> None:
    frame = frame_of(p=0.0)
    assert not any(node.dropped for layer in drawing(frame).layers for node in layer)
    _, _, _, answer, mean, full = (number.value for number in frame.numbers)
    assert answer == pytest.approx(full, abs=1e-6)
    assert mean == pytest.approx(full, abs=1e-6)


def test_a_layer_that_is_gone_is_said() -> None:
    told = [frame_of(p=0.9, width=3, seed=number) for number in range(6)]
    assert any(frame.notice for frame in told)
    for frame in told:
        gone = any(all(node.dropped for node in layer) for layer in drawing(frame).layers[1:-1])
        assert bool(frame.notice) == gone


def test_the_curve_of_means_ends_at_the_mean_that_is_told() -> None:
    frame = frame_of()
    panel = frame.panels[1]
    assert isinstance(panel, Plot)
    line, rule = panel.marks
    assert line.y[-1] == pytest.approx(frame.numbers[4].value)  # type: ignore[union-attr,index]  # a line
    assert rule.y == frame.numbers[5].value  # type: ignore[union-attr]  # a rule
