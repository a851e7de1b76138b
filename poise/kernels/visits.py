"""Random words of samples, each by its id and its epoch."""

from __future__ import annotations

from ctypes import c_int64, c_uint64, c_void_p

from torch import Tensor

from poise.kernels.library import function

__all__ = ["fill_visit_words"]

_words = function("poise_visit_words", c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_uint64, c_int64)


def fill_visit_words(out: Tensor, keys: Tensor, visits: Tensor, stream_number: int) -> None:
    """Fill out (M, B, count) int64 with the words of keys (M, 3) and visits (M, B, 2), both int64.

    On the CPU and contiguous. Only where `available()`; `poise.core.visits` holds the eager twin.
    """
    members, rows, count = out.shape
    _words(out.data_ptr(), keys.data_ptr(), visits.data_ptr(), members, rows, stream_number, count)
