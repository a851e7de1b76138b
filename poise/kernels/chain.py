"""A network as a chain of layers, trained member by member: what `chain.h` declares, as ctypes has it."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int64, c_uint64, c_void_p

__all__ = ["ACTIVATIONS", "KINDS", "LOSSES", "SCRATCH", "Answers", "Chain", "Layer", "Loss", "kept_of_bins",
           "kept_of_embedding"]  # fmt: skip

_NAMES = (
    "linear",
    "batch_norm",
    "fixed_norm",
    "activation",
    "dropout",
    "noise",
    "add",
    "columns",
    "piecewise",
    "levels",
    "periodic",
    "bins",
    "embedded",
    "front_scale",
)
KINDS = {name: number for number, name in enumerate(_NAMES)}
"""The layers that kernels know, as chain.h numbers them."""
ACTIVATIONS = {name: number for number, name in enumerate(("relu", "silu", "mish", "selu", "tanh", "gelu"))}
"""The activations, as chain.h numbers them."""
LOSSES = {"cross_entropy": 0, "squared_error": 1}
"""The losses, as chain.h numbers them."""
SCRATCH = 128 * 32 + 128 * 128  # PRODUCT_SCRATCH of product.h: a member's own values begin behind it


def kept_of_bins(rows: int, columns: int, size: int, width: int) -> int:
    """Return the floats that a layer of `size` bins a column keeps for its way back: `kept_bins` of bins.c."""
    return 3 * rows * columns + rows + size + 1 + width * columns + columns * (size + 1) * width


def kept_of_embedding(rows: int, columns: int, bins: int, size: int) -> int:
    """Return the floats that columns embedded in `size` outputs each keep: `kept_embedding` of bins.c."""
    return 3 * rows * columns + (bins + 1) * columns * size + -(-rows * columns * size // 4)


class Layer(ctypes.Structure):
    """`layer` of chain.h."""

    _fields_ = (
        *((name, c_int64) for name in ("kind", "detail", "inputs", "outputs", "source", "source_stride", "target",
                                       "target_stride", "source_grad", "target_grad", "add", "learned", "onto",
                                       "weight", "weight_stride", "bias", "scaled", "scaled_grad", "kept")),
        ("stream", c_uint64),
        *((name, c_void_p) for name in ("dial", "running_mean", "running_var", "low", "slope", "columns")),
        ("momentum", c_float),
        ("eps", c_float),
    )  # fmt: skip


class Loss(ctypes.Structure):
    """`loss` of chain.h."""

    _fields_ = (
        *((name, c_int64) for name in ("kind", "first", "width", "known")),
        ("class_weights", c_void_p),
    )


class Chain(ctypes.Structure):
    """`chain` of chain.h."""

    _fields_ = (
        *((name, c_int64) for name in ("rows", "parameters", "columns", "targets_width", "outputs_width",
                                       "layers_count", "losses_count", "output", "output_grad",
                                       "narrow")),
        *((name, c_void_p) for name in ("layers", "losses", "params", "grads", "keys", "inputs", "targets", "weights",
                                        "terms")),
    )  # fmt: skip


class Answers(ctypes.Structure):
    """`answers` of chain.h."""

    _fields_ = (
        ("net", c_void_p),
        ("total", c_int64),
        ("index", c_void_p),
        ("chosen", c_void_p),
        ("spare", c_int64),
        ("outputs", c_void_p),
    )
