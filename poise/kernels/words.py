"""Random words of many keys at once, and uniforms of words."""

from __future__ import annotations

from ctypes import c_int64, c_uint64, c_void_p

from torch import Tensor

from poise.kernels.library import function

__all__ = ["fill_uniforms", "fill_words"]

_words = function("poise_words", c_void_p, c_void_p, c_int64, c_uint64, c_int64)
_uniforms = function("poise_uniforms", c_void_p, c_void_p, c_int64)


def fill_words(out: Tensor, keys: Tensor, stream_number: int) -> None:
    """Fill out (M, count) int64 with the words of each key (M, 3) int64: `poise.core.rng` holds the eager twin.

    Both on the CPU and contiguous. Only where `available()`.
    """
    _words(out.data_ptr(), keys.data_ptr(), out.shape[0], stream_number, out.shape[1])


def fill_uniforms(out: Tensor, numbers: Tensor) -> None:
    """Fill out, float32, with the uniforms in (0, 1) of as many random int32 numbers; conditions and twin as above."""
    _uniforms(out.data_ptr(), numbers.data_ptr(), out.numel())
