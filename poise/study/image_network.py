"""The networks of a study of images, each behind a layer that standardises the channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.data.pixels import PixelEncoder
from poise.models import ResNet, SmallCnn, VisionTransformer, WideResNet
from poise.models.sizes import check_choice, check_sizes
from poise.models.vision_transformer import patch_side
from poise.study.choices import Choices
from poise.study.choices_images import BY_NETWORK
from poise.study.design import NetworkDesign

__all__ = ["IMAGE_NETWORKS", "ImageDesign", "ImageNetwork"]

IMAGE_NETWORKS = tuple(BY_NETWORK)
"""The structures that an image study knows."""

_USUAL = {"cnn": (16, 3), "resnet": (16, 3), "wrn": (2, 16), "vit": (64, 4)}  # width and depth
_HEADS = 4


@dataclass(frozen=True)
class ImageDesign(NetworkDesign):
    """The structure of an image study's network; the same for all members. None takes the network's usual number.

    | `network` | what | `width` | `depth` |
    |---|---|---|---|
    | "cnn" | convolution, ReLU and pooling | channels of the first stage, doubled by each further one; 16 | stages; 3 |
    | "resnet" | `depth` stages of two residual blocks; 64 and 4 make ResNet-18 | as of "cnn" | stages; 3 |
    | "wrn" | WRN-depth-width | how many times wider than 16, 32, 64 channels; 2 | layers: 10, 16, 22, ...; 16 |
    | "vit" | a vision transformer on patches, some 8 x 8 | features of a patch, a multiple of 4; 64 | blocks; 4 |

    `norm`: that of "resnet" and "wrn", "group" (each picture by itself) or "batch".

    >>> ImageDesign("wrn", width=4)
    ImageDesign(network='wrn', width=4, depth=16, norm='group')
    """

    network: str = "cnn"
    width: int | None = None
    depth: int | None = None
    norm: str = "group"

    def __post_init__(self) -> None:
        check_choice("ImageDesign", "network", self.network, IMAGE_NETWORKS)
        check_choice("ImageDesign", "norm", self.norm, ("group", "batch"))
        for name, usual in zip(("width", "depth"), _USUAL[self.network], strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, usual)
        check_sizes("ImageDesign", width=self.width, depth=self.depth)
        if self.network == "wrn" and (self.layers < 10 or self.layers % 6 != 4):
            raise ArgumentError(f"`ImageDesign.depth` must be 10, 16, 22, 28, ... for wrn; got {self.depth}.")
        if self.network == "vit" and self.wide % _HEADS:
            raise ArgumentError(f"`ImageDesign.width` must be a multiple of {_HEADS} for vit; got {self.width}.")

    @property
    def wide(self) -> int:
        """The width, once it is known."""
        assert self.width is not None
        return self.width

    @property
    def layers(self) -> int:
        """The depth, once it is known."""
        assert self.depth is not None
        return self.depth

    @property
    def pictures(self) -> bool:
        """Whether the inputs are pictures."""
        return True

    @property
    def choices(self) -> Choices:
        """The parts for the network, on colour pictures of 32 pixels."""
        return BY_NETWORK[self.network]

    def build(self, plan: PixelEncoder, outputs: int, edges: Tensor | None) -> nn.Module:
        """Return a new `ImageNetwork`."""
        return ImageNetwork(plan, outputs, self)


class ImageNetwork(nn.Module):
    """(x - mean) / scale, then the design's network.

    Shapes: (B, C, H, W) in [0, 1] -> (B, outputs).
    """

    def __init__(self, encoder: PixelEncoder, outputs: int, design: ImageDesign) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.tensor(encoder.mean)[:, None, None])
        self.register_buffer("scale", torch.tensor(encoder.scale)[:, None, None])
        channels, wide, layers, norm = encoder.channels, design.wide, design.layers, design.norm
        if design.network == "cnn":
            self.network: nn.Module = SmallCnn(channels, outputs, width=wide, depth=layers)
        elif design.network == "resnet":
            self.network = ResNet(channels, outputs, width=wide, blocks=2, stages=layers, norm=norm)
        elif design.network == "wrn":
            self.network = WideResNet(channels, outputs, width=wide, depth=layers, norm=norm)
        else:
            size = {"height": encoder.height, "width": encoder.width}
            patch = patch_side(encoder.height, encoder.width)
            self.network = VisionTransformer(
                channels, outputs, **size, patch=patch, features=wide, heads=_HEADS, depth=layers
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - self.mean) / self.scale)  # type: ignore[no-any-return]  # a module's call
