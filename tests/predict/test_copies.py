"""A copy with other weights is the network called functionally on them."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from poise.core.errors import ArgumentError
from poise.network import Dropout
from poise.predict.copies import copy_with

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Dropout(0.5).network(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.BatchNorm1d(3))).eval()


def test_it_is_the_functional_call() -> None:
    model, weights = network(), {"0.weight": torch.ones(3, 3), "2.bias": torch.tensor([1.0, 2.0, 3.0])}
    assert torch.equal(copy_with(model, weights)(X), functional_call(model, weights, (X,)))


def test_other_weights_are_shared_and_buffers_are_not() -> None:
    model = network()
    made = copy_with(model, {"0.weight": torch.ones(3, 3)})
    assert made[0].bias is model[0].bias
    assert not made[0].weight.requires_grad
    made[2].running_mean.add_(1)
    assert float(model[2].running_mean.sum()) == 0


def test_a_tied_weight_is_exchanged_everywhere() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    made = copy_with(model, {"0.weight": 2 * torch.eye(3)})
    assert torch.equal(made(X), 4 * X)


def test_a_copys_layers_are_its_own() -> None:
    model = network()
    made = copy_with(model, {}).train()
    made(X)
    assert (made[1].poise_dropout.calls, model[1].poise_dropout.calls) == (1, 0)


def test_weights_may_be_mapped() -> None:
    model, stacked = network(), torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(1))
    mapped = torch.vmap(lambda weight: copy_with(model, {"0.weight": weight})(X))(stacked)
    for one, weight in zip(mapped, stacked, strict=True):
        torch.testing.assert_close(one, copy_with(model, {"0.weight": weight})(X), rtol=1e-5, atol=1e-6)


def test_a_wrapped_network_is_refused_by_the_parts_name() -> None:
    with pytest.raises(ArgumentError, match=r"`swag` needs the network itself .* without '0.weight'"):
        copy_with(nn.Sequential(nn.Sequential(network())), {"0.weight": torch.ones(3, 3)}, "swag")
