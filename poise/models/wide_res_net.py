"""A wide residual network for small images."""

from __future__ import annotations

from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.models.res_net import norm_layer
from poise.models.sizes import check_choice, check_sizes

__all__ = ["WideBlock", "WideResNet"]


class WideBlock(nn.Module):
    """shortcut + branch(relu(norm(x))): norms and activations stand before the convolutions, as the paper has them.

    The shortcut is x, or a convolution (1 x 1) of relu(norm(x)) where the shape changes.

    Shapes: (B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        bias = norm == "none"
        self.enter = nn.Sequential(norm_layer(norm, inputs), nn.ReLU())
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias),
            norm_layer(norm, outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias),
        )
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        kept = x if self.shortcut is None else self.shortcut(entered)
        return kept + self.branch(entered)  # type: ignore[no-any-return]  # a module's call


class WideResNet(nn.Module):
    """WRN-depth-width: three stages of (depth - 4) / 6 blocks with 16, 32 and 64 times `width` channels.

    One 3 x 3 convolution of 16 channels is the stem, all stages but the first halve the image; a norm, ReLU and the
    mean over all places stand before the linear head. WRN-16-4 with batch norm has 2,748,890 parameters for 10
    classes of colour images. `norm` is "batch", "group" (up to 8 groups; any batch size) or "none". Convolutions start
    from He's normal law by their outputs, as the paper's code has it. Works under torch.vmap.

    Shapes: (B, channels, H, W) -> (B, outputs).
    Raises: ArgumentError for sizes < 1, a depth that is not 6 n + 4, or another norm.
    Source: Zagoruyko and Komodakis 2016, "Wide residual networks", table 1 and figure 1 (d), without its dropout:
        add `Dropout` to the recipe.

    >>> sum(p.numel() for p in WideResNet(3, 10, width=4, depth=16).parameters())
    2748890
    """

    def __init__(self, channels: int, outputs: int, *, width: int = 4, depth: int = 16, norm: str = "batch") -> None:
        super().__init__()
        check_sizes("WideResNet", channels=channels, outputs=outputs, width=width, depth=depth)
        check_choice("WideResNet", "norm", norm, ("batch", "group", "none"))
        if depth < 10 or depth % 6 != 4:
            raise ArgumentError(f"`WideResNet.depth` must be 10, 16, 22, 28, ...; got {shown(depth)}. 16 is small.")
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=norm == "none")
        blocks: list[nn.Module] = []
        before = 16
        for stage in range(3):
            wide = 16 * width * 2**stage
            for block in range((depth - 4) // 6):
                blocks.append(WideBlock(before, wide, 2 if stage and not block else 1, norm))
                before = wide
        self.blocks = nn.Sequential(*blocks)
        self.leave = nn.Sequential(norm_layer(norm, before), nn.ReLU())
        self.head = nn.Linear(before, outputs)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.leave(self.blocks(self.stem(x))).mean((-2, -1)))  # type: ignore[no-any-return]
