"""Residual blocks as people write them by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ConvNeXt",
    "Declared",
    "Dynamic",
    "Loop",
    "Parallel",
    "PreActivation",
    "PreNorm",
]


class BasicBlock(nn.Module):
    """The two-layer block of ResNet, with a projection where the width changes."""

    def __init__(self, width: int = 4, out: int = 4) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, out, 3, padding=1), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out)
        self.downsample = nn.Sequential(nn.Conv2d(width, out, 1), nn.BatchNorm2d(out)) if width != out else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        outputs: Tensor = self.relu(out)
        return outputs


class Bottleneck(nn.Module):
    """The three-layer block of ResNet."""

    def __init__(self, width: int = 4, out: int = 4) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(width, 2, 1), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, out, 1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(out)
        self.shortcut = nn.Identity() if width == out else nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return F.relu(torch.add(self.bn3(self.conv3(h)), self.shortcut(x)))


class PreActivation(nn.Module):
    """The shortcut of a wide residual network reads the activated input."""

    def __init__(self, width: int = 4, out: int = 4) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, out, 3, padding=1)
        self.bn2, self.conv2 = nn.BatchNorm2d(out), nn.Conv2d(out, out, 3, padding=1)
        self.convs = nn.Conv2d(width, out, 1) if width != out else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn1(x).relu()
        skip = x if self.convs is None else self.convs(h)
        outputs: Tensor = skip + self.conv2(self.bn2(self.conv1(h)).relu())
        return outputs


class ConvNeXt(nn.Module):
    """With layer scale, and the branch permuted back."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 3, padding=1, groups=width), nn.LayerNorm(width)
        self.up, self.act, self.down = nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width)
        self.gamma = nn.Parameter(0.1 * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.depthwise(x).permute(0, 2, 3, 1)
        h = self.gamma * self.down(self.act(self.up(self.norm(h))))
        outputs: Tensor = x + h.permute(0, 3, 1, 2)
        return outputs


class PreNorm(nn.Module):
    """One dropout for both branches, attention that returns a pair, an optional mask."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 8), nn.Linear(8, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        h = self.norm1(x)
        h, _ = self.attention(h, h, h, attn_mask=mask)
        x = x + self.dropout(h)
        outputs: Tensor = x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))
        return outputs


class Parallel(nn.Module):
    """Attention and MLP side by side in one sum, scaled."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        outputs: Tensor = x + 0.5 * self.first(h) + self.second(h)
        return outputs


class Loop(nn.Module):
    """Dense layers, each added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return x


class Dynamic(nn.Module):
    """Its path depends on values: torch.fx cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(x) if x.sum() > 0 else x


class Declared(Dynamic):
    """Says where its branch ends."""

    residual_branches = ("linear",)
