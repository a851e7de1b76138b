"""How the native tier's matrix products take their operands: as they are, or rounded to half the bits."""

from __future__ import annotations

import ctypes
from ctypes import c_void_p

from poise.kernels.library import available, function

__all__ = ["PRODUCTS", "has_bfloat16"]

PRODUCTS = ("float32", "bfloat16")
"""What a product's operands may be rounded to; sums are float32 with either."""

_has_bfloat16 = function("poise_has_bfloat16", c_void_p)


def has_bfloat16() -> bool:
    """Whether products in bfloat16 are done here: by kernels, on a processor with AVX-512 BF16; else float32 is."""
    if not available():
        return False
    found = ctypes.c_int64()
    _has_bfloat16(ctypes.addressof(found))
    return bool(found.value)
