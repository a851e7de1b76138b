"""Sparsity by layer against counts written out, and what a threshold may be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from poise.core.errors import ArgumentError
from poise.diagnosis import LayerSparsity, sparsity


def test_counts_are_those_of_numpy() -> None:
    torch.manual_seed(0)
    weight = torch.randn(7, 5)
    weight[weight.abs() < 0.3] = 0.0
    array = weight.numpy()
    for threshold in (0.0, 0.5, 1.0, 100.0):
        one = sparsity({"w": weight}, threshold)[0]
        assert one == LayerSparsity("w", 35, int((array == 0).sum()), int((abs(array) <= threshold).sum()))
        assert one.zero_share == (array == 0).mean()
        assert one.small_share == (abs(array) <= threshold).mean()


def test_a_network_s_weights_come_in_its_order_and_biases_when_asked_for() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    assert [one.name for one in sparsity(model)] == ["0.weight", "2.weight"]
    assert [one.name for one in sparsity(model, biases=True)] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_l1_makes_zeros_where_weight_decay_makes_none() -> None:
    import poise

    shares = {}
    for part in (poise.L1(0.3), poise.Decay(0.3)):
        torch.manual_seed(0)
        model = nn.Linear(10, 1)
        run = poise.Recipe(part).start(model)
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        x = torch.randn(100, 10)
        y = x[:, :1]
        for _ in range(200):
            run.batch(x, y)
            run.objective((model(x) - y).square().mean()).backward()
            run.update(optimizer)
        shares[part.name] = sparsity(model)[0].zeros
    assert shares == {"l1": 9, "decay": 0}


def test_nan_is_neither_zero_nor_small_and_an_empty_layer_has_no_share() -> None:
    assert sparsity({"w": torch.full((2, 2), torch.nan)}, 9.0)[0] == LayerSparsity("w", 4, 0, 0)
    assert sparsity({"w": torch.empty(0, 3)})[0].zero_share == 0.0


@pytest.mark.parametrize("threshold", [-1.0, float("nan"), float("inf"), "0", True, None])
def test_a_threshold_that_is_none_is_refused(threshold: object) -> None:
    with pytest.raises(ArgumentError, match=r"sparsity\.threshold"):
        sparsity({}, threshold)  # type: ignore[arg-type]
