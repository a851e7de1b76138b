"""Philox4x64-10 in operations of torch, for words that are made where the tensors are: on a GPU, or without a kernel.

Source: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3". The words are NumPy's.
int64 stands for uint64 throughout: sums and products wrap, and a shift to the right is followed by a mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from poise.kernels.compiled import compiled

__all__ = ["philox", "seeds_of"]

_HALF = 0xFFFFFFFF
_LEFT, _RIGHT = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


def _signed(word: int) -> int:
    """Return the int64 that has a uint64's bits."""
    return word - (1 << 64) if word >> 63 else word


def seeds_of(keys: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the generator's two key words of keys (..., 3) = (study seed, member, step) and a stream's number."""
    return keys[..., 0] * _signed(_FIRST) ^ number, keys[..., 1]


def philox(first: Tensor, second: Tensor, count: int, epoch: Tensor, row: Tensor) -> Tensor:
    """Return `count` words (..., count) of a generator's key (first, second) and its counter's upper half (epoch, row).

    Shapes: all four (...) int64, or such that they broadcast. The lower half of the counter numbers the blocks of four
    words from 1.

    >>> zero = torch.tensor(0)
    >>> philox(zero, zero, 2, epoch=zero, row=zero).tolist() == philox(zero, zero, 4, zero, zero).tolist()[:2]
    True
    """
    blocks = -(-count // 4)
    given = torch.broadcast_tensors(first, second, epoch, row)
    places = torch.arange(1, blocks + 1, device=first.device)[None]
    words = _rounds(places, *(tensor.reshape(-1, 1) for tensor in given))
    return words.reshape(*given[0].shape, 4 * blocks)[..., :count]


@compiled
def _rounds(places: Tensor, first: Tensor, second: Tensor, epoch: Tensor, row: Tensor) -> Tensor:
    """Return the words (N, blocks, 4) of keys and counters (N, 1), at places (1, blocks) of the lower half."""
    a, b, c, d = torch.broadcast_tensors(places, torch.zeros_like(places), epoch, row)
    for _ in range(10):
        right, left = _upper(_RIGHT, c), _upper(_LEFT, a)
        a, b, c, d = right ^ b ^ first, c * _signed(_RIGHT), left ^ d ^ second, a * _signed(_LEFT)
        first, second = first + _signed(_FIRST), second + _signed(_SECOND)
    return torch.stack([a, b, c, d], -1)


def _upper(factor: int, x: Tensor) -> Tensor:
    """Return the upper 64 of the 128 bits of factor x, by halves of 32 bits."""
    low, high = factor & _HALF, factor >> 32
    x_low, x_high = x & _HALF, (x >> 32) & _HALF
    middle = low * x_high + ((low * x_low >> 32) & _HALF)
    other = high * x_low + (middle & _HALF)
    return high * x_high + ((middle >> 32) & _HALF) + ((other >> 32) & _HALF)
