"""The units of a weight, against what each output channel of the layer really reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from poise.core.select import Role, roles_of, transposed_of
from poise.core.units import map_units, transposed_groups, units_first

LAYERS = [
    lambda groups: nn.ConvTranspose1d(4, 6, 3, groups=groups),
    lambda groups: nn.ConvTranspose2d(4, 6, (3, 2), groups=groups),
    lambda groups: nn.ConvTranspose3d(4, 6, (1, 2, 3), groups=groups),
]


def read_by(layer: nn.Module, channel: int) -> Tensor:
    """Which weights an output channel depends on, by autograd: positive weights of positive inputs cannot cancel."""
    weight: Tensor = layer.weight  # type: ignore[assignment]  # a convolution
    x = torch.ones(1, int(layer.in_channels), *[4] * (weight.dim() - 2))  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(layer(x)[0, channel].sum(), weight)
    return slope != 0


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("make", LAYERS)
def test_a_unit_holds_the_weights_that_its_output_channel_reads(make, groups: int) -> None:  # type: ignore[no-untyped-def]
    layer = make(groups)
    transposed = roles_of(layer)["weight"].transposed
    assert transposed == groups
    units = units_first(layer.weight, transposed)
    assert units.shape == (6, 4 // groups, *layer.kernel_size)
    numbered = torch.arange(layer.weight.numel()).reshape(layer.weight.shape)
    for channel in range(6):
        expected = numbered[read_by(layer, channel)]
        assert torch.equal(units_first(numbered, transposed)[channel].flatten().sort().values, expected)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_twice_gives_the_weight_back(groups: int) -> None:
    weight = torch.arange(4 * 3 * 5.0).reshape(4, 3, 5)
    assert torch.equal(units_first(units_first(weight, groups), groups), weight)
    assert map_units(lambda units: 2 * units, weight, groups).is_contiguous()
    assert torch.equal(map_units(lambda units: 2 * units, weight, groups), 2 * weight)


def test_of_any_other_layer_the_weight_itself_is_returned() -> None:
    for layer in (nn.Linear(3, 2), nn.Conv2d(4, 6, 3, groups=2), nn.Embedding(3, 2), nn.PReLU(3)):
        assert all(role.transposed == 0 for role in roles_of(layer).values())
        assert units_first(layer.weight, 0) is layer.weight


class Own(nn.ConvTranspose2d):
    """A subclass, with a gain of its own."""

    def __init__(self) -> None:
        super().__init__(4, 6, 3, groups=2)
        self.gain = nn.Parameter(torch.ones(4, 1, 1, 1))


def test_subclasses_lazy_layers_and_parametrised_weights_count_and_gains_do_not() -> None:
    lazy = nn.Sequential(nn.LazyConvTranspose2d(6, 3, groups=2))
    lazy(torch.zeros(1, 4, 5, 5))
    own = nn.Sequential(Own())
    spectral = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.ConvTranspose2d(4, 6, 3)))
    alone = nn.utils.parametrizations.weight_norm(nn.ConvTranspose2d(4, 6, 3))
    found = [{name: role.transposed for name, role in roles_of(m).items()} for m in (lazy, own, spectral, alone)]
    assert found == [
        {"0.weight": 2, "0.bias": 0},
        {"0.weight": 2, "0.bias": 0, "0.gain": 0},
        {"0.bias": 0, "0.parametrizations.weight.original": 1},
        {"bias": 0, "parametrizations.weight.original0": 0, "parametrizations.weight.original1": 1},
    ]


def test_a_weight_that_is_tied_has_the_units_of_its_first_owner() -> None:
    module = nn.Sequential(nn.Conv1d(6, 4, 3, bias=False), nn.ConvTranspose1d(4, 6, 3, bias=False))
    module[1].weight = module[0].weight
    assert {name: role.transposed for name, role in roles_of(module).items()} == {"0.weight": 0}


def test_what_is_not_known_is_no_transposed_convolution() -> None:
    assert transposed_of({"w": Role("weight", transposed=2)}, "w") == 2
    assert transposed_of({}, "w") == 0
    assert transposed_groups(nn.ConvTranspose1d(4, 6, 3), torch.zeros(4)) == 0
