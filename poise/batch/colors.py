"""Edits of pixels in [0, 1], one strength a row; a neutral strength gives the pixels bit for bit.

Shapes: pixels (B, C, H, W), C = 1 or 3, and strengths (B,), in and out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from poise.batch.images import rows_where
from poise.core.placed import placed

__all__ = [
    "autocontrast",
    "blur",
    "brightness",
    "contrast",
    "equalize",
    "from_hsv",
    "gray",
    "hue",
    "linear",
    "posterize",
    "saturation",
    "sharpness",
    "solarize",
    "to_hsv",
]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's and torchvision's grey
_LEVELS = 255  # of a byte: posterize, equalize and solarize are defined on bytes


def _each(strength: Tensor, pixels: Tensor) -> Tensor:
    return strength.to(pixels.dtype).reshape(-1, 1, 1, 1)


def gray(pixels: Tensor) -> Tensor:
    """Return the luma (B, 1, H, W); a grey image is its own."""
    if pixels.shape[1] == 1:
        return pixels
    weights = placed(_LUMA, pixels, pixels.dtype).reshape(-1, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)


def _away_from(base: Tensor, pixels: Tensor, factor: Tensor) -> Tensor:
    """Return base + factor (pixels - base), in [0, 1]: `lerp` is exact at a factor of 1."""
    return torch.lerp(base.expand_as(pixels), pixels, _each(factor, pixels)).clamp(0, 1)


def brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Return factor x, clamped.

    >>> brightness(torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([2.0]))
    tensor([[[[0.5000, 1.0000]]]])
    """
    return (pixels * _each(factor, pixels)).clamp(0, 1)


def contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Return m + factor (x - m), clamped, m the mean luma of the image."""
    return _away_from(gray(pixels).mean((-3, -2, -1), keepdim=True), pixels, factor)


def saturation(pixels: Tensor, factor: Tensor) -> Tensor:
    """Return g + factor (x - g), clamped, g the pixel's luma; a grey image stays as it is."""
    return pixels if pixels.shape[1] == 1 else _away_from(gray(pixels), pixels, factor)


def sharpness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Return s + factor (x - s), clamped, s the image smoothed by Pillow's kernel (1 1 1, 1 5 1, 1 1 1) / 13.

    Pixels at the border stay, and so do images of less than three pixels a side.
    """
    height, width = pixels.shape[-2:]
    if min(height, width) < 3:
        return pixels
    inner = 4 * pixels[..., 1:-1, 1:-1]
    for down in range(3):
        for across in range(3):
            inner = inner + pixels[..., down : height - 2 + down, across : width - 2 + across]
    rest = pixels[..., 1:-1, :1], inner / 13, pixels[..., 1:-1, -1:]
    smooth = torch.cat([pixels[..., :1, :], torch.cat(rest, -1), pixels[..., -1:, :]], -2)
    return _away_from(smooth, pixels, factor)


def blur(pixels: Tensor, deviation: Tensor, reach: int) -> Tensor:
    """Return the pixels smoothed by a Gaussian cut off at `reach` pixels, the border's repeated; 0 is the identity."""
    places = torch.arange(-reach, reach + 1, device=pixels.device, dtype=pixels.dtype)
    width = deviation.to(pixels.dtype)[:, None]
    weights = torch.exp(-0.5 * (places / torch.where(width > 0, width, 1.0)) ** 2)
    columns = (weights / weights.sum(1, keepdim=True)).unbind(1)

    def along(images: Tensor, dimension: int) -> Tensor:
        size = images.shape[dimension]
        own = torch.arange(size, device=images.device)
        shifted = [
            images.index_select(dimension, (own + shift).clamp(0, size - 1)) for shift in range(-reach, reach + 1)
        ]
        return torch.stack([_each(w, images) * one for w, one in zip(columns, shifted, strict=True)]).sum(0)

    return rows_where(deviation > 0, along(along(pixels, 3), 2).clamp(0, 1), pixels)


def posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    """Return the pixels with the lowest `bits` bits of their byte cleared.

    >>> posterize(torch.tensor([[[[200 / 255]]]]), torch.tensor([4.0])) * 255
    tensor([[[[192.]]]])
    """
    step = _each(2.0 ** bits.round(), pixels)
    levels = (((pixels * _LEVELS).round() / step).floor() * step) / _LEVELS
    return torch.where(step == 1, pixels, levels)


def solarize(pixels: Tensor, threshold: Tensor) -> Tensor:
    """Return 1 - x where x >= threshold, else x; a threshold above 1 leaves all as it is."""
    # In halves of a byte's level: a pixel of a byte is never on the wrong side by rounding.
    return torch.where(pixels >= _each(threshold, pixels) - 0.25 / _LEVELS, 1 - pixels, pixels)


def autocontrast(pixels: Tensor) -> Tensor:
    """Return each channel of each image stretched to the whole of [0, 1]; a channel of one value stays.

    >>> autocontrast(torch.tensor([[[[0.25, 0.5, 0.75]]]]))
    tensor([[[[0.0000, 0.5000, 1.0000]]]])
    """
    low, high = pixels.amin((-2, -1), keepdim=True), pixels.amax((-2, -1), keepdim=True)
    flat = high <= low
    return torch.where(flat, pixels, (pixels - low) / torch.where(flat, 1.0, high - low))


def equalize(pixels: Tensor) -> Tensor:
    """Return each channel of each image with its histogram of 256 levels made flat, exactly as Pillow does on bytes."""
    levels = (pixels * _LEVELS).round().to(torch.int64).flatten(2)
    counts = torch.zeros(*levels.shape[:2], _LEVELS + 1, dtype=torch.int64, device=pixels.device)
    counts = counts.scatter_add(2, levels, torch.ones_like(levels))
    last = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - last) // _LEVELS
    below = counts.cumsum(2) - counts
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=_LEVELS)
    flat = table.gather(2, levels).to(pixels.dtype).reshape(pixels.shape) / _LEVELS
    return torch.where(step[..., None] == 0, pixels, flat)


def to_hsv(pixels: Tensor) -> Tensor:
    """Return hue, saturation and value in [0, 1] of red, green and blue; the hue of a grey is 0.

    >>> to_hsv(torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1)).flatten()
    tensor([0.3333, 1.0000, 1.0000])
    """
    value, least = pixels.amax(1), pixels.amin(1)
    spread = value - least
    safe = torch.where(spread == 0, 1.0, spread)
    red, green, blue = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turns = torch.where(spread == 0, 0.0, (sixth / 6) % 1.0)
    return torch.stack([turns, spread / torch.where(value == 0, 1.0, value), value], 1)


def from_hsv(pixels: Tensor) -> Tensor:
    """Return red, green and blue of hue, saturation and value; the hue counts modulo 1.

    >>> from_hsv(torch.tensor([0.5, 1.0, 1.0]).reshape(1, 3, 1, 1)).flatten()
    tensor([0., 1., 1.])
    """
    turns, share, value = pixels[:, 0], pixels[:, 1], pixels[:, 2]

    def channel(offset: float) -> Tensor:
        place = (offset + 6 * turns) % 6
        return value - value * share * torch.minimum(place, 4 - place).clamp(0, 1)

    return torch.stack([channel(5.0), channel(3.0), channel(1.0)], 1)


def hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """Return the pixels with their hue in HSV moved by `turns` of the circle; a grey image stays as it is."""
    if pixels.shape[1] == 1:
        return pixels
    hsv = to_hsv(pixels)
    moved = from_hsv(torch.cat([hsv[:, :1] + _each(turns, pixels), hsv[:, 1:]], 1))
    return rows_where(turns != 0, moved.clamp(0, 1), pixels)


# NTSC's YIQ: the rows of I and Q, and what I and Q add to red, green and blue.
_IQ = ((0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
_FROM_IQ = ((0.956296, 0.621024), (-0.272122, -0.647381), (-1.106989, 1.704615))


def linear(pixels: Tensor, strength: Tensor, order: Tensor) -> Tensor:
    """Return brightness, contrast, saturation and hue as one matrix a row, in its order, clamped once at the end.

    The hue is turned in YIQ. Shapes: strength (B, 4), three factors and the turns; order (B, 4) of their numbers.

    >>> strength, order = torch.tensor([[2.0, 0.5, 1.0, 0.0]]), torch.tensor([[0, 1, 2, 3]])
    >>> linear(torch.tensor([[[[0.0, 1.0]]]]), strength, order)  # 0 and 2, then halfway to their mean
    tensor([[[[0.5000, 1.0000]]]])
    """
    channels = pixels.shape[1]
    wide = strength.to(torch.float64)
    means = torch.cat([pixels.mean((-2, -1)), torch.ones_like(pixels[:, :1, 0, 0])], 1).to(torch.float64)
    # Rows of the matrix are channels of the result; its last column is the offset.
    now = torch.eye(channels, channels + 1, dtype=torch.float64, device=pixels.device).expand(len(pixels), -1, -1)
    weights = placed(_LUMA if channels == 3 else (1.0,), now, now.dtype)
    last = placed([0.0] * channels + [1.0], now, now.dtype)
    iq, from_iq = placed(_IQ, now, now.dtype), placed(_FROM_IQ, now, now.dtype)
    angle = 2 * torch.pi * wide[:, 3, None]
    cosine, sine = angle.cos(), angle.sin()
    for turn in range(4):
        luma = (weights[:, None] * now).sum(1, keepdim=True)
        gray_mean = (luma[:, 0] * means).sum(-1)[:, None, None] * last
        bases = [torch.zeros_like(luma), gray_mean, luma if channels == 3 else now]
        edits = [now + (wide[:, k, None, None] - 1) * (now - base) for k, base in enumerate(bases)]
        edits.append(now)
        if channels == 3:
            i, q = (iq @ now).unbind(1)
            moved = torch.stack([cosine * i + sine * q - i, cosine * q - sine * i - q], 1)
            edits[3] = now + from_iq @ moved
        for k, edited in enumerate(edits):
            now = torch.where((order[:, turn] == k)[:, None, None], edited, now)
    matrix = now.to(pixels.dtype)
    flat = torch.baddbmm(matrix[..., -1:], matrix[..., :-1], pixels.flatten(2))
    return flat.reshape(pixels.shape).clamp(0, 1)
