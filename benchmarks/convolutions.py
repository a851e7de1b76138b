"""Whether kernels of products could train a population of convolutions faster than torch does: a bound.

A 3 x 3 convolution is a product of patches (rows x pixels, 9 channels in) with filters, its backward pass two more.
Measured on one core, by processor time, in turns: torch's convolution (oneDNN) forward and backward, and the three
products of the project's kernel on matrices that lie ready, without cutting patches out and putting gradients back.

    python -m benchmarks.convolutions
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from ctypes import c_int64, c_void_p

import torch
from torch.nn import functional as F

from poise.kernels.library import function

ROWS, SIDE, ROUNDS = 64, 28, 7
CHANNELS = ((16, 16), (16, 32), (32, 32), (32, 64), (64, 64))

_products = function("poise_products", *[c_int64] * 4, *[c_void_p] * 3, c_int64, c_int64)


def product(rows: int, columns: int, depth: int, turned: int) -> Callable[[], None]:
    """Return what multiplies (rows, depth) by (depth, columns); `turned` bits: 1 left, 2 right is transposed."""
    left, right, found = torch.randn(rows, depth), torch.randn(depth, columns), torch.empty(rows, columns)

    def run() -> None:
        _products(1, rows, columns, depth, left.data_ptr(), right.data_ptr(), found.data_ptr(), turned, 0)

    return run


def products(before: int, after: int) -> Callable[[], None]:
    """Return the three products of a convolution's step: outputs, gradient of the filters, gradient of the patches."""
    pixels = ROWS * SIDE * SIDE
    three = (product(pixels, after, 9 * before, 2), product(after, 9 * before, pixels, 1),
             product(pixels, 9 * before, after, 0))  # fmt: skip

    def run() -> None:
        for one in three:
            one()

    return run


def convolution(before: int, after: int) -> Callable[[], None]:
    """Return torch's convolution, forward and backward."""
    inputs = torch.randn(ROWS, before, SIDE, SIDE).to(memory_format=torch.channels_last).requires_grad_()
    filters = torch.randn(after, before, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    back = torch.randn(ROWS, after, SIDE, SIDE).to(memory_format=torch.channels_last)

    def run() -> None:
        torch.autograd.grad(F.conv2d(inputs, filters, padding=1), (inputs, filters), back)

    return run


def seconds(run: Callable[[], None]) -> float:
    began = time.process_time()
    for _ in range(3):
        run()
    return (time.process_time() - began) / 3


def main() -> None:
    torch.set_num_threads(1)
    print(f"{ROWS} images of {SIDE} x {SIDE}, 3 x 3 filters, one core, medians of {ROUNDS} rounds in turns")
    print(f"{'channels':>10}{'torch ms':>10}{'GFLOP/s':>9}{'products ms':>13}{'GFLOP/s':>9}{'ratio':>7}")
    for before, after in CHANNELS:
        both = {"torch": convolution(before, after), "products": products(before, after)}
        costs: dict[str, list[float]] = {name: [] for name in both}
        for number in range(ROUNDS + 1):
            for name, run in both.items():
                cost = seconds(run)
                if number:
                    costs[name].append(cost)
        work = 3 * 2 * ROWS * SIDE * SIDE * 9 * before * after / 1e9
        theirs, ours = (statistics.median(costs[name]) for name in ("torch", "products"))
        print(f"{f'{before} to {after}':>10}{1e3 * theirs:>10.1f}{work / theirs:>9.0f}{1e3 * ours:>13.1f}"
              f"{work / ours:>9.0f}{theirs / ours:>7.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
