"""A small convolutional network for small images."""

from __future__ import annotations

from torch import Tensor, nn

from poise.models.sizes import PaddingMode, check_sizes

__all__ = ["SmallCnn"]


class SmallCnn(nn.Module):
    """`depth` stages of convolution (3 x 3), ReLU and max pooling, the mean over all places, and a linear head.

    Each stage halves the image (not below one pixel) and all but the first double the channels, from `width` on. It
    has no norm of its own: add `BatchNorm()`, `GroupNorm()` or none to the recipe. Works under torch.vmap.

    Shapes: (B, channels, H, W) -> (B, outputs).
    Raises: ArgumentError for sizes < 1.

    >>> import torch
    >>> SmallCnn(3, 10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, channels: int, outputs: int, *, width: int = 32, depth: int = 2, padding_mode: PaddingMode = "zeros"
    ) -> None:
        super().__init__()
        check_sizes("SmallCnn", channels=channels, outputs=outputs, width=width, depth=depth)
        stages: list[nn.Module] = []
        for number in range(depth):
            wide = width * 2**number
            stages += [
                nn.Conv2d(channels, wide, 3, padding=1, padding_mode=padding_mode),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
            channels = wide
        self.features = nn.Sequential(*stages)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((-2, -1)))  # type: ignore[no-any-return]  # nn.Module's call is untyped
