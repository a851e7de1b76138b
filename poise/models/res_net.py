"""A residual network for small images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from poise.models.sizes import check_choice, check_sizes

__all__ = ["ResNet", "ResidualBlock", "norm_layer"]

_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(_groups(channels), channels),
    "none": lambda channels: nn.Identity(),
}


def _groups(channels: int) -> int:
    """Return the largest number of groups up to 8 that divides the channels."""
    return max(groups for groups in range(1, 9) if channels % groups == 0)


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Return a new norm of feature maps: "batch", "group" (up to 8 groups) or "none"."""
    return _NORMS[norm](channels)


class ResidualBlock(nn.Module):
    """relu(shortcut(x) + branch(x)), the branch two convolutions with norms; a projection where the shape changes.

    Shapes: (B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=norm == "none"),
            norm_layer(norm, outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=norm == "none"),
            norm_layer(norm, outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=norm == "none"), norm_layer(norm, outputs)
            )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.shortcut(x) + self.branch(x))  # type: ignore[no-any-return]  # a module's call


class ResNet(nn.Module):
    """A residual network with the stem for small images: one 3 x 3 convolution, then stages of residual blocks.

    `stages` stages of `blocks` blocks each; all stages but the first halve the image and double the channels, from
    `width` on. Three stages of (n - 2) / 6 blocks are the paper's ResNet-n for CIFAR-10: blocks=3 and width=16 make
    ResNet-20, with a projection for its shortcut B. Four stages of two blocks from 64 channels are ResNet-18 as it is
    used for small images, with 11,173,962 parameters for 10 classes of colour images. `norm` is "batch", "group" (up
    to 8 groups; works under torch.vmap and with any batch size) or "none". The last norm of each branch starts at
    zero, so that a new network computes its shortcuts only.

    Shapes: (B, channels, H, W) -> (B, outputs).
    Raises: ArgumentError for sizes < 1 or another norm.
    Source: He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", section 4.2; the zero is Goyal
        et al. 2017, "Accurate, large minibatch SGD", section 5.1.

    >>> import torch
    >>> ResNet(3, 10, width=8, blocks=1)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, channels: int, outputs: int, *, width: int = 16, blocks: int = 3, stages: int = 3, norm: str = "batch"
    ) -> None:
        super().__init__()
        check_sizes("ResNet", channels=channels, outputs=outputs, width=width, blocks=blocks, stages=stages)
        check_choice("ResNet", "norm", norm, _NORMS)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=norm == "none"), norm_layer(norm, width), nn.ReLU()
        )
        layers: list[ResidualBlock] = []
        before = width
        for stage in range(stages):
            for block in range(blocks):
                wide = width * 2**stage
                layers.append(ResidualBlock(before, wide, 2 if stage and not block else 1, norm))
                before = wide
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(before, outputs)
        for layer in layers:
            last = layer.branch[-1]
            if isinstance(last, (nn.BatchNorm2d, nn.GroupNorm)):
                torch.nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((-2, -1)))  # type: ignore[no-any-return]  # a module's call
