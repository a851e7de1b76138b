"""A convolution whose weights are not shared: each place of the image has its own."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.utils import _pair

from poise.core.errors import ArgumentError, shown
from poise.models.sizes import PaddingMode, check_sizes
from poise.train.swap import kept_modes

__all__ = ["LocallyConnected2d", "unshared"]

Size = int | tuple[int, int]
_FORM = ("kernel_size", "stride", "padding", "dilation", "padding_mode")


class LocallyConnected2d(nn.Module):
    """A convolution with weights of its own at each place of the output.

    y_oij = sum over c, k, l of w_ijockl x_c,i+k,j+l + b_oij: nn.Conv2d without its sharing over places, so with as
    many times its parameters as the output has places, and not equivariant to shifts. Use it where places differ by
    nature (aligned faces), or to show what sharing is worth. Costs an unfolded copy of the images. Parts that look
    for weight layers (norms, `DropConnect`) do not find it; penalties and decay do. Works under torch.vmap.

    Shapes: (B, C, *input_size) -> (B, O, H, W), H and W as of nn.Conv2d; weight (H W, O, C k l), bias (O, H, W).
    Raises: ArgumentError for sizes < 1 or a kernel that does not fit; at a call, for images of another size.
    Source: LeCun 1989, "Generalization and network design strategies"; Goodfellow, Bengio, Courville 2016, "Deep
        Learning", section 9.5, "unshared convolution".

    >>> conv = nn.Conv2d(2, 3, 3, padding=1)
    >>> own, x = LocallyConnected2d.from_conv(conv, (5, 5)), torch.ones(1, 2, 5, 5)
    >>> bool(torch.allclose(own(x), conv(x), atol=1e-6)), own.weight.numel() // conv.weight.numel()
    (True, 25)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        input_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
    ) -> None:
        super().__init__()
        check_sizes("LocallyConnected2d", in_channels=in_channels, out_channels=out_channels)
        # torch's own layer checks and completes the arguments, and draws the weights that each place starts from.
        conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias, padding_mode=padding_mode
        )
        self._take(conv, _pair(input_size))
        for parameter in self.parameters():
            bound = (in_channels * conv.kernel_size[0] * conv.kernel_size[1]) ** -0.5
            nn.init.uniform_(parameter, -bound, bound)  # as nn.Conv2d, but each place its own

    def _take(self, conv: nn.Conv2d, input_size: tuple[int, int]) -> None:
        """Take the form of a convolution and, at each place, a copy of its weights."""
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.kernel_size, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.padding, self.padding_mode = conv.padding, conv.padding_mode
        self._borders = tuple(conv._reversed_padding_repeated_twice)  # left, right, top, bottom, also for "same"
        left, right, top, bottom = self._borders
        padded = (self.input_size[0] + top + bottom, self.input_size[1] + left + right)
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        self.output_size = tuple((n - r) // s + 1 for n, r, s in zip(padded, reach, self.stride, strict=True))
        if min(self.output_size) < 1:
            raise ArgumentError(
                f"`LocallyConnected2d.input_size` must hold the kernel {tuple(reach)}; got {self.input_size} and "
                f"padding {self._borders}."
            )
        places = self.output_size[0] * self.output_size[1]
        shared = conv.weight.detach().flatten(1)
        self.weight = nn.Parameter(shared.expand(places, *shared.shape).clone())
        own = None if conv.bias is None else conv.bias.detach()[:, None, None].expand(-1, *self.output_size).clone()
        self.bias = None if own is None else nn.Parameter(own)
        self.parameter_roles = {"bias": "bias"}  # three-dimensional, but no weight

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != self.input_size:
            raise ArgumentError(
                f"`LocallyConnected2d.input_size` must be the images'; got {self.input_size} for {tuple(x.shape)}."
            )
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        padded = F.pad(x, self._borders, mode=mode) if any(self._borders) else x
        patches = F.unfold(padded, self.kernel_size, dilation=self.dilation, stride=self.stride)
        found: Tensor = torch.einsum("bkp,pok->bop", patches, self.weight).unflatten(-1, self.output_size)
        return found if self.bias is None else found + self.bias

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, input_size: Size) -> LocallyConnected2d:
        """Return the layer with a copy of the convolution's weights at each place: the same outputs, to rounding.

        Raises: ArgumentError if it is no nn.Conv2d with groups=1.
        """
        if not isinstance(conv, nn.Conv2d) or conv.groups != 1:
            raise ArgumentError(
                f"`LocallyConnected2d.from_conv.conv` must be an nn.Conv2d, groups=1; got {shown(conv)}."
            )
        own = cls.__new__(cls)
        nn.Module.__init__(own)
        own._take(conv, _pair(input_size))
        return own.train(conv.training)

    def to_conv(self) -> nn.Conv2d:
        """Return the convolution whose weights are the means of these over all places."""
        outputs, inputs = self.weight.shape[1], self.weight.shape[2] // (self.kernel_size[0] * self.kernel_size[1])
        form: Any = {name: getattr(self, name) for name in _FORM}
        conv = nn.Conv2d(inputs, outputs, bias=self.bias is not None, **form).to(self.weight)
        with torch.no_grad():
            conv.weight.copy_(self.weight.mean(0).view_as(conv.weight))
            if conv.bias is not None and self.bias is not None:
                conv.bias.copy_(self.bias.mean((1, 2)))
        return conv.train(self.training)

    def extra_repr(self) -> str:
        places, outputs, _ = self.weight.shape
        return f"{places} places, {outputs} channels, kernel_size={self.kernel_size}, input_size={self.input_size}"


def unshared(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a copy of the model in which each place of each convolution has weights of its own.

    The same function at first, to rounding, so that what training makes of the two can be compared. One forward pass
    on `inputs` tells the sizes of the images.

    Raises: ArgumentError if there is no nn.Conv2d, one has groups, or one is called with images of several sizes.

    >>> from poise.models import SmallCnn
    >>> own = unshared(SmallCnn(1, 10, width=4), torch.zeros(1, 1, 8, 8))
    >>> own.features[0].weight.shape
    torch.Size([64, 4, 9])
    """
    own = copy.deepcopy(model)
    sizes: dict[str, set[tuple[int, int]]] = {}

    def note(path: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        sizes.setdefault(path, set()).add((args[0].shape[-2], args[0].shape[-1]))

    convolutions = {path: module for path, module in own.named_modules() if isinstance(module, nn.Conv2d)}
    hooks = [conv.register_forward_pre_hook(partial(note, path)) for path, conv in convolutions.items()]
    with kept_modes(own), torch.no_grad():
        own.eval()(inputs)
    for hook in hooks:
        hook.remove()
    if not sizes or max(len(found) for found in sizes.values()) > 1:
        raise ArgumentError(f"`unshared.model` must call each nn.Conv2d with images of one size; got {shown(sizes)}.")
    for path, (size,) in sizes.items():
        layer = LocallyConnected2d.from_conv(convolutions[path], size)
        if not path:
            return layer
        owner, _, name = path.rpartition(".")
        setattr(own.get_submodule(owner), name, layer)
    return own
