"""From pictures as bytes to what an image network reads, the same way for new pictures as for the ones it learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from poise.core.errors import DataError

__all__ = ["PixelEncoder"]


@dataclass(frozen=True)
class PixelEncoder:
    """Pictures of one size as floats in [0, 1]; `mean` and `scale` of each channel are for the network's first layer.

    Shapes: (N, C, H, W) uint8 -> (N, C, H, W) float32.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @staticmethod
    def fit(pixels: np.ndarray) -> PixelEncoder:
        """Return the encoder of pictures (N, C, H, W) uint8: their size, and each channel's mean and deviation."""
        _, channels, height, width = pixels.shape
        # By counts of the 256 levels: a float copy of a large set would take four times its memory.
        mean, scale = [], []
        for channel in range(channels):
            counts = np.bincount(pixels[:, channel].reshape(-1), minlength=256).astype(np.float64)
            levels = np.arange(256) / 255
            middle = float((counts * levels).sum() / counts.sum())
            mean.append(middle)
            scale.append(max(float(np.sqrt((counts * (levels - middle) ** 2).sum() / counts.sum())), 1 / 255))
        return PixelEncoder(channels, height, width, tuple(mean), tuple(scale))

    def transform(self, pixels: np.ndarray) -> np.ndarray:
        """Return pictures as the network reads them. Raises: DataError for another size or type."""
        wanted = (self.channels, self.height, self.width)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != wanted:
            raise DataError(
                f"pictures must be uint8 of shape (N, {', '.join(map(str, wanted))}), as those that were learned; got "
                f"{pixels.dtype} {pixels.shape}."
            )
        return pixels.astype(np.float32) / np.float32(255)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what `from_state` takes: plain facts, and no arrays."""
        facts = {"channels": self.channels, "height": self.height, "width": self.width}
        return {**facts, "mean": list(self.mean), "scale": list(self.scale)}, {}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> PixelEncoder:
        """Return the encoder that `state` told of."""
        channels, height, width = (int(facts[name]) for name in ("channels", "height", "width"))
        return cls(channels, height, width, tuple(map(float, facts["mean"])), tuple(map(float, facts["scale"])))
