"""Which of a weight's numbers belong to which output unit: dimension 0, but for transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["map_units", "transposed_groups", "units_first"]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def transposed_groups(owner: nn.Module, parameter: Tensor) -> int:
    """Return the number of groups if the parameter is the weight of a transposed convolution, else 0.

    The weight goes by its shape, so that what a reparametrisation keeps in its place counts, and gains do not.

    >>> layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    >>> transposed_groups(layer, layer.weight), transposed_groups(layer, layer.bias)
    (2, 0)
    """
    if not isinstance(owner, _TRANSPOSED):
        return 0
    shape = (owner.in_channels, owner.out_channels // owner.groups, *owner.kernel_size)
    return owner.groups if tuple(parameter.shape) == shape else 0


def units_first(weight: Tensor, transposed: int) -> Tensor:
    """Return the weight with its output units as dimension 0; twice, it is the weight again.

    `transposed` (`Role.transposed`) is the number of groups of a transposed convolution, 0 for any other layer, whose
    weight is returned as it is.

    Shapes: (groups * in, out, ...) -> (groups * out, in, ...); a view if groups is 1.

    >>> units_first(nn.ConvTranspose1d(4, 6, 3, groups=2).weight, 2).shape
    torch.Size([6, 2, 3])
    """
    if not transposed:
        return weight
    if transposed == 1:
        return weight.transpose(0, 1)
    grouped: Tensor = weight.unflatten(0, (transposed, weight.shape[0] // transposed))
    return grouped.transpose(1, 2).flatten(0, 1)


def map_units(function: Callable[[Tensor], Tensor], weight: Tensor, transposed: int) -> Tensor:
    """Return the weight after a function that maps (units, ...) to the same shape."""
    return units_first(function(units_first(weight, transposed)), transposed)
