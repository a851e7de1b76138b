"""Wide residual networks and vision transformers: the published sizes, slow twins, members as the network alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import DropPath, Recipe
from poise.core.errors import ArgumentError
from poise.models import ResNet, VisionTransformer, WideResNet
from poise.models.vision_transformer import patch_side
from poise.network.residual import residual_branches
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

pytestmark = pytest.mark.usefixtures("seeded")
Build = Callable[[], nn.Module]

NETS: dict[str, Build] = {
    "resnet": lambda: ResNet(1, 3, width=4, blocks=2, stages=2, norm="group"),
    "resnet with batch norm": lambda: ResNet(1, 3, width=4, blocks=1, stages=2, norm="batch"),
    "wrn": lambda: WideResNet(1, 3, width=1, depth=10, norm="group"),
    "wrn with batch norm": lambda: WideResNet(1, 3, width=1, depth=10),
    "vit": lambda: VisionTransformer(1, 3, height=9, width=8, patch=2, features=8, heads=2, depth=2),
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def convolutions(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.Conv2d) for layer in module.modules())


def test_resnet_18_has_the_known_size_with_either_norm() -> None:
    for norm in ("batch", "group"):
        network = ResNet(3, 10, width=64, blocks=2, stages=4, norm=norm)
        assert count(network) == 11_173_962
        # 17 convolutions of 3 x 3 and the head are the 18 layers; three projections come on top.
        assert convolutions(network) == 17 + 3
        assert len(network.blocks) == 8


@pytest.mark.parametrize(
    ("depth", "width", "expected"),
    # Table 4 of the paper has 2.7, 11.0, 36.5 million; the exact numbers follow from its table 1.
    [(16, 4, 2_748_890), (16, 8, 10_961_370), (28, 10, 36_479_194)],
)
def test_wide_residual_networks_have_the_known_size(depth: int, width: int, expected: int) -> None:
    with torch.device("meta"):
        network = WideResNet(3, 10, width=width, depth=depth)
    assert count(network) == expected
    assert convolutions(network) == depth - 4 + 1 + 3
    assert len(residual_branches(network)) == (depth - 4) // 2


def test_a_wide_block_is_the_papers() -> None:
    network = WideResNet(2, 3, width=1, depth=10).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)

    def normed(name: str, x: Tensor) -> Tensor:
        return F.relu(network.get_submodule(name)(x))

    x = torch.randn(2, 2, 9, 9)
    value = network.stem(x)
    for place, stride in enumerate((1, 2, 2)):
        block = f"blocks.{place}"
        entered = normed(f"{block}.enter.0", value)
        inner = F.conv2d(entered, network.get_parameter(f"{block}.branch.0.weight"), stride=stride, padding=1)
        branch = F.conv2d(
            normed(f"{block}.branch.1", inner), network.get_parameter(f"{block}.branch.3.weight"), padding=1
        )
        kept = value
        if place:  # the first block keeps its 16 channels
            kept = F.conv2d(entered, network.get_parameter(f"{block}.shortcut.weight"), stride=stride)
        value = kept + branch
    wanted = network.head(normed("leave.0", value).mean((2, 3)))
    torch.testing.assert_close(network(x), wanted, atol=1e-5, rtol=1e-5)


def test_a_vision_transformer_cuts_patches_as_unfold_does() -> None:
    network = VisionTransformer(3, 5, height=7, width=10, patch=4, features=8, heads=2, depth=1)
    x = torch.randn(2, 3, 7, 10)
    patches = F.unfold(F.pad(x, (0, 2, 0, 1)), 4, stride=4).transpose(1, 2)  # 2 x 3 patches
    tokens = patches @ network.embedding.weight.flatten(1).T + network.embedding.bias + network.places
    assert network.places.shape == (6, 8)
    wanted = network.head(network.norm(network.blocks[0](tokens, None)).mean(1))
    torch.testing.assert_close(network(x), wanted, atol=1e-5, rtol=1e-5)
    # Exchanging two patches exchanges two tokens, which only the places tell apart.
    with torch.no_grad():
        network.places.zero_()
    turned = x.clone()
    turned[..., :4, :4], turned[..., :4, 4:8] = x[..., :4, 4:8], x[..., :4, :4]
    torch.testing.assert_close(network(turned), network(x), atol=1e-5, rtol=1e-5)


def test_sizes_are_checked() -> None:
    with pytest.raises(ArgumentError, match=r"`WideResNet.depth` must be 10, 16, 22, 28, ...; got 18"):
        WideResNet(3, 10, depth=18)
    with pytest.raises(ArgumentError, match=r"`WideResNet.norm` must be one of batch, group, none"):
        WideResNet(3, 10, norm="layer")
    with pytest.raises(ArgumentError, match=r"`VisionTransformer.heads` must divide the features 10; got 4"):
        VisionTransformer(3, 10, height=8, width=8, patch=2, features=10)
    with pytest.raises(ArgumentError, match=r"must get images of \(8, 8\); got \(9, 8\)"):
        VisionTransformer(3, 10, height=8, width=8, patch=2)(torch.zeros(1, 3, 9, 8))
    assert [patch_side(side, side) for side in (5, 8, 28, 32, 64)] == [2, 2, 4, 4, 8]


@pytest.mark.parametrize("name", NETS)
def test_a_member_of_a_population_is_the_network_alone(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    side = (9, 8) if name == "vit" else (8, 8)
    rows = Rows(torch.randn(24, 1, *side, generator=draw), F.one_hot(torch.arange(24) % 3, 3).float())

    def trained(members: list[int]) -> Population:
        recipe = Recipe(DropPath(0.3))
        population = Population(NETS[name], recipe, CrossEntropy(), lr=[3e-3] * len(members), members=members)
        population.train(rows, 3, 8)
        return population

    both, alone = trained([0, 1]), trained([1])
    torch.testing.assert_close(both.outputs(rows.inputs)[1], alone.outputs(rows.inputs)[0], atol=2e-5, rtol=2e-5)
    assert float((both.outputs(rows.inputs)[0] - alone.outputs(rows.inputs)[0]).abs().max()) > 0.01
