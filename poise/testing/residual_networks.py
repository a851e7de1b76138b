"""Networks with residual branches, for the parts that act there."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["OneBranch", "TwoBranches", "residual_image_network", "residual_network"]


def _layers(width: int, kernel: int) -> nn.Sequential:
    if kernel == 0:
        return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
    wide = [nn.Conv2d(width, width, kernel, padding=kernel // 2) for _ in range(2)]
    return nn.Sequential(wide[0], nn.Tanh(), wide[1])


class OneBranch(nn.Module):
    """x + branch(x); a kernel of 0 stands for dense layers."""

    def __init__(self, width: int, kernel: int = 0) -> None:
        super().__init__()
        self.branch = _layers(width, kernel)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = x + self.branch(x)
        return outputs


class TwoBranches(nn.Module):
    """x + first(x) + second(x)."""

    def __init__(self, width: int, kernel: int = 0) -> None:
        super().__init__()
        self.first, self.second = _layers(width, kernel), _layers(width, kernel)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = x + self.first(x) + self.second(x)
        return outputs


def residual_network(columns: int, classes: int) -> nn.Module:
    """Return a dense network of two residual blocks."""
    return nn.Sequential(OneBranch(columns), TwoBranches(columns), nn.LayerNorm(columns), nn.Linear(columns, classes))


def residual_image_network(channels: int, classes: int) -> nn.Module:
    """Return a convolutional network of two residual blocks."""
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    return nn.Sequential(OneBranch(channels, 3), TwoBranches(channels, 3), pooled)
