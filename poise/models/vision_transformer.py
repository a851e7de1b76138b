"""A small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError
from poise.models.sizes import check_sizes
from poise.models.small_transformer import TransformerBlock

__all__ = ["VisionTransformer", "patch_side"]


def patch_side(height: int, width: int) -> int:
    """Return the side of square patches that cut an image into about 8 x 8: 2 pixels at least.

    >>> patch_side(28, 28), patch_side(32, 32), patch_side(64, 64), patch_side(8, 8)
    (4, 4, 8, 2)
    """
    return max(2, round(min(height, width) / 8))


class VisionTransformer(nn.Module):
    """Patches as tokens with learned places, `depth` blocks with their norms in front, the mean over tokens, a head.

    An image whose side is no multiple of `patch` is filled up with zeros at its right and lower border. There is no
    class token: the mean does as well and is one thing less. Works under torch.vmap.

    Shapes: (B, channels, height, width) -> (B, outputs).
    Raises: ArgumentError for sizes < 1, or heads that do not divide the width; at a call, for other images.
    Source: Dosovitskiy et al. 2021, "An image is worth 16x16 words", section 3.1; Beyer, Zhai, Kolesnikov 2022,
        "Better plain ViT baselines for ImageNet-1k", for the mean in place of the token.

    >>> VisionTransformer(3, 10, height=32, width=32, patch=4, features=64)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    residual_branches = ()  # those of its blocks only: its own forward asks for the image's size

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        height: int,
        width: int,
        patch: int,
        features: int = 64,
        heads: int = 4,
        depth: int = 4,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "outputs": outputs, "height": height, "width": width, "patch": patch}
        check_sizes("VisionTransformer", **sizes, features=features, heads=heads, depth=depth)
        if features % heads:
            raise ArgumentError(f"`VisionTransformer.heads` must divide the features {features}; got {heads}.")
        self.size, self.patch = (height, width), patch
        tokens = -(-height // patch) * -(-width // patch)
        self.embedding = nn.Conv2d(channels, features, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn(tokens, features))
        self.parameter_roles = {"places": "embedding"}
        self.blocks = nn.ModuleList(TransformerBlock(features, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[-2:]) != self.size:
            raise ArgumentError(f"`VisionTransformer` must get images of {self.size}; got {tuple(x.shape[-2:])}.")
        height, width = self.size
        x = F.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        tokens = self.embedding(x).flatten(2).transpose(1, 2) + self.places
        for block in self.blocks:
            tokens = block(tokens, None)
        return self.head(self.norm(tokens).mean(1))  # type: ignore[no-any-return]  # nn.Module's call is untyped
