"""Cutting dead units that transposed convolutions make or read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from poise.models.pruning import prune_units


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decoder() -> nn.Sequential:
    """Units made and read by transposed convolutions; of constants, those that a rectifier or the next weights end."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 5, 3, stride=2, output_padding=1))
    net = nn.Sequential(*net, nn.BatchNorm2d(5), nn.Sigmoid(), nn.Conv2d(5, 7, 2), nn.ReLU())
    net = nn.Sequential(*net, nn.ConvTranspose2d(7, 3, 2, bias=False), nn.Flatten(), nn.LazyLinear(3))
    net(draw(6, 2, 8, 8))  # in training mode: the norm gets statistics of its own
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias[1] = -1.0
        net[2].weight[4] = 0  # nothing reads unit 4 of the first
        net[2].weight[:, [0, 3]] = 0  # constant in the image, at their bias
        net[7].weight[[2, 6]] = 0
        net[7].weight[:, 1] = 0
        net[9].bias.fill_(1.0)
    return net.eval()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_outputs_are_equal_units_are_gone_and_the_small_network_trains(dtype: torch.dtype, bound: float) -> None:
    net = decoder().to(dtype)
    small, report = prune_units(net, draw(2, 2, 8, 8).to(dtype))
    x = 3 * draw(20, 2, 8, 8, seed=5).to(dtype)
    torch.testing.assert_close(small(x), net(x), rtol=bound, atol=bound)
    assert report.widths == {"0": (6, 4), "2": (5, 3), "5": (7, 5), "7": (3, 2)}
    assert report.kept == {}
    up = small.get_submodule("2")
    assert (up.in_channels, up.out_channels, tuple(up.get_parameter("weight").shape)) == (4, 3, (4, 3, 3, 3))
    small.train()(x).square().mean().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())


def test_a_transposed_convolution_keeps_channels_with_a_constant_and_drops_zeros() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.ConvTranspose1d(6, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    x = draw(3, 2, 6)
    net(x)
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias[1] = 0.5  # the ends of its output get less of it
    small, report = prune_units(net, x)
    assert report.kept == {"0": "1 dead units: a padded or transposed convolution would miss their constants"}
    assert report.widths == {}
    with torch.no_grad():
        net[0].bias[1] = -0.5
    small, report = prune_units(net, x)
    assert report.widths == {"0": (6, 5)}
    torch.testing.assert_close(small(x), net(x), rtol=1e-6, atol=1e-6)


def test_groups_of_a_transposed_convolution_are_kept_and_listed() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.ConvTranspose1d(4, 6, 3, groups=2), nn.Flatten())
    net = nn.Sequential(*net, nn.LazyLinear(2))
    x = draw(3, 2, 6)
    net(x)
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias[1] = -0.5
        net[2].weight[:2, 2] = 0  # the last output channel of the first group
    small, report = prune_units(net, x)
    assert report.kept == {
        "0": "1 dead units: 2 reads them in another way",
        "2": "1 dead units: the convolution has groups",
    }
    torch.testing.assert_close(small(x), net(x), rtol=0, atol=0)
