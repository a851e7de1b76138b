"""The networks of a study of images, each behind a layer that standardises the channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.data.pixels import PixelEncoder
from poise.models import ResNet, SmallCnn
from poise.study.choices import IMAGE, Choices
from poise.study.design import NetworkDesign

__all__ = ["IMAGE_NETWORKS", "ImageDesign", "ImageNetwork"]

IMAGE_NETWORKS = ("cnn", "resnet")
"""The structures that an image study knows."""


@dataclass(frozen=True)
class ImageDesign(NetworkDesign):
    """The structure of an image study's network; the same for all members.

    `network`: "cnn" (`depth` stages of convolution, ReLU and pooling) or "resnet" (`depth` stages of two residual
    blocks with group norm). `width`: channels of the first stage; each further stage doubles them.
    """

    network: str = "cnn"
    width: int = 16
    depth: int = 3

    def __post_init__(self) -> None:
        if self.network not in IMAGE_NETWORKS:
            raise ArgumentError(
                f"`ImageDesign.network` must be one of {', '.join(IMAGE_NETWORKS)}; got {shown(self.network)}."
            )

    @property
    def pictures(self) -> bool:
        """Whether the inputs are pictures."""
        return True

    @property
    def choices(self) -> Choices:
        """The parts for images."""
        return IMAGE

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
        if design.network == "cnn":
            self.network: nn.Module = SmallCnn(encoder.channels, outputs, width=design.width, depth=design.depth)
        else:
            self.network = ResNet(
                encoder.channels, outputs, width=design.width, blocks=2, stages=design.depth, norm="group"
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - self.mean) / self.scale)  # type: ignore[no-any-return]  # a module's call
