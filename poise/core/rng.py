"""Keyed randomness: every number is a function of (study seed, member, step, name), never of position or order.

A member of a population therefore draws what it would draw alone, and pruning a neighbour changes nothing.
The generator is Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), NumPy's
implementation of it, so a key can be replayed on any machine. Nothing here touches a global generator.
"""

from __future__ import annotations

import hashlib
import math
import threading
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch as functorch  # the documented way, a custom operator, costs 30x more a draw
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from poise.core.philox import philox, seeds_of
from poise.core.placed import placed
from poise.kernels import available
from poise.kernels.words import fill_uniforms, fill_words

__all__ = ["Rng", "key", "keyed_words", "seen_as", "stream"]

_WORD = (1 << 64) - 1
_local = threading.local()


@lru_cache(maxsize=4096)
def stream(name: str) -> int:
    """Return the 63-bit stream number of a name (a part, a layer, a draw)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def key(seed: int, member: int = 0, step: int = 0) -> Tensor:
    """Return the int64 key (3,) = (study seed, member, step) that travels with a member."""
    return torch.tensor([seed, member, step], dtype=torch.int64)


def _fill(out: np.ndarray, keys: list[list[int]], stream_number: int) -> None:
    """Fill each row of the uint64 array `out` with the words of its key (seed, member, step)."""
    generator = getattr(_local, "philox", None)
    if generator is None:
        # Made once a thread: setting its state costs 1 us, constructing one costs 30.
        generator = _local.philox = np.random.Philox(key=0)
        _local.state = generator.state
    state: dict[str, Any] = _local.state
    first, counter = state["state"]["key"], state["state"]["counter"]
    state["buffer_pos"] = 4  # nothing buffered: the first word comes from this counter
    state["has_uint32"] = 0
    counter[:] = 0
    count = out.shape[1]
    for row, (seed, member, step) in zip(out, keys, strict=True):
        first[0] = stream_number ^ ((seed * 0x9E3779B97F4A7C15) & _WORD)
        first[1] = member & _WORD
        counter[2] = step & _WORD
        generator.state = state
        row[:] = generator.random_raw(count)


def keyed_words(keys: Tensor, stream_number: int, count: int) -> Tensor:
    """Return `count` random int64 words for each key.

    Shapes: keys (..., 3) int64 -> (..., count) int64. Under `torch.vmap` a mapped key gives mapped words. They are
    made where the key is, and are the same on every device.
    """
    if functorch.is_batchedtensor(keys):
        # Unwrapped by hand: a custom operator with a vmap rule costs 300 us a call, this costs 10.
        level, place = functorch.maybe_get_level(keys), functorch.maybe_get_bdim(keys)
        with temporarily_clear_interpreter_stack():
            inner = keyed_words(functorch.get_unwrapped(keys).movedim(place, 0), stream_number, count)
        mapped: Tensor = functorch._add_batch_dim(inner, 0, level)
        return mapped
    if functorch.is_gradtrackingtensor(keys):
        return keyed_words(functorch.get_unwrapped(keys), stream_number, count)
    with temporarily_clear_interpreter_stack():  # inside `torch.func.grad`, even torch.empty gives a wrapped tensor
        if not keys.is_cpu:
            first, second = seeds_of(keys, stream_number)
            return philox(first, second, count, epoch=keys[..., 2], row=torch.zeros_like(first))
        rows = keys.reshape(-1, 3).contiguous()
        out = torch.empty(rows.shape[0], count, dtype=torch.int64, device=rows.device)
        if available():
            fill_words(out, rows, stream_number)
        else:
            _fill(out.numpy().view(np.uint64), rows.tolist(), stream_number)
        return out.reshape(*keys.shape[:-1], count)


_operators = torch.library.Library("poise", "DEF")
_operators.define("keyed_words(Tensor keys, str name, int count) -> Tensor")


@torch.library.impl(_operators, "keyed_words", "CompositeExplicitAutograd")
def _keyed_words(keys: Tensor, name: str, count: int) -> Tensor:
    return keyed_words(keys, stream(name), count)


@torch.library.register_fake("poise::keyed_words", lib=_operators)  # type: ignore[untyped-decorator]
def _keyed_words_shape(keys: Tensor, name: str, count: int) -> Tensor:
    return keys.new_empty((*keys.shape[:-1], count), dtype=torch.int64)


def seen_as(words: Tensor, kind: torch.dtype) -> Tensor:
    """Return `words.view(kind)`; under `torch.vmap`, too, for which torch has no rule before 2.13.

    `behind_vmap` will not do: it leaves a call inside a gradient transform to torch.

    >>> seen_as(torch.tensor([1, 2]), torch.int32).tolist()
    [1, 0, 2, 0]
    """
    if torch.compiler.is_compiling() or not functorch.is_batchedtensor(words):
        return words.view(kind)
    level, place = functorch.maybe_get_level(words), functorch.maybe_get_bdim(words)
    with temporarily_clear_interpreter_stack():
        found = seen_as(functorch.get_unwrapped(words).movedim(place, 0), kind)
    batched: Tensor = functorch._add_batch_dim(found, 0, level)
    return batched


class Rng:
    """Random draws of one member at one step; each draw carries a label, so no two draws share numbers.

    Shapes: `keys` is (3,) int64, see `key`; under `torch.vmap` it is the mapped key of one member.

    >>> first, second = (Rng(key(seed=1)).uniform("share", (3,)) for _ in range(2))
    >>> bool((first == second).all())
    True
    """

    def __init__(self, keys: Tensor, name: str = "") -> None:
        self.keys = keys
        self.name = name

    def __repr__(self) -> str:
        return f"Rng({self.name!r})"

    def fold(self, name: str) -> Rng:
        """Return the generator of a named child: independent of its parent and of its siblings."""
        return Rng(self.keys, f"{self.name}/{name}")

    def words(self, label: str, count: int) -> Tensor:
        """Return (count,) int64 words, uniform over all 2^64 values."""
        if torch.compiler.is_compiling():  # as one operator, so that a compiled graph draws anew each time it runs
            compiled: Tensor = torch.ops.poise.keyed_words(self.keys, f"{self.name}/{label}", count)
            return compiled
        return keyed_words(self.keys, stream(f"{self.name}/{label}"), count)

    def numbers(self, label: str, shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
        """Return random integers of a kind, uniform over all its values, several to a word where they fit."""
        size, packed = math.prod(shape), 8 // kind.itemsize
        return seen_as(self.words(label, -(-size // packed)), kind)[..., :size].reshape(shape)

    def uniform(self, label: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Return uniforms in the open interval (0, 1): 52 random bits in float64, else 23."""
        if dtype == torch.float64:
            bits = (self.numbers(label, shape, torch.int64) >> 12) & ((1 << 52) - 1)
            return (bits.to(torch.float64) + 0.5) * 2.0**-52
        numbers = self.numbers(label, shape, torch.int32)
        plain = not torch.compiler.is_compiling() and functorch.maybe_current_level() is None
        if plain and numbers.is_cpu and available():
            numbers = numbers.contiguous()
            found = torch.empty_like(numbers, dtype=torch.float32)
            fill_uniforms(found, numbers)
            return found.to(dtype)
        bits = (numbers >> 9) & ((1 << 23) - 1)
        return ((bits.to(torch.float32) + 0.5) * 2.0**-23).to(dtype)

    def normal(self, label: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Return standard normals by inversion, sqrt(2) erfinv(2u - 1)."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return (torch.erfinv(2 * self.uniform(label, shape, wide) - 1) * math.sqrt(2)).to(dtype)

    def keep(self, label: str, shape: tuple[int, ...], drop: Tensor | float) -> Tensor:
        """Return a bool mask that is False with probability `drop` (exact to 2^-16), all False at drop = 1.

        Reading a 64-bit word as four 16-bit thresholds makes a mask 10x cheaper than torch's serial sampler.
        """
        halves = self.numbers(label, shape, torch.int16)
        rate = placed(drop, halves, torch.float32)
        threshold = (rate * 65536).round() - 32768
        # int16 holds up to 32767, so a drop of 1 is closed by the second condition.
        return (halves >= threshold.clamp(max=32767).to(torch.int16)) & (rate < 1)

    def margin(self, label: str, shape: tuple[int, ...], drop: Tensor | float) -> Tensor:
        """Return float32 numbers that are > 0 exactly where `keep` (same label, shape and drop) is True.

        For the hot path: on a CPU, passes that write or read bool run scalar code, 5 to 20 times slower than float.
        """
        halves = self.numbers(label, shape, torch.int16)
        rate = placed(drop, halves, torch.float32)
        threshold = (rate * 65536).round().clamp(max=65535) - 32768.5
        return halves.to(torch.float32) - torch.where(rate < 1, threshold, math.inf)

    def permutation(self, label: str, count: int) -> Tensor:
        """Return a uniformly random permutation of 0 .. count-1, int64."""
        return torch.argsort(self.words(label, count), stable=True)

    def symmetric_beta(
        self, label: str, shape: tuple[int, ...], alpha: Tensor | float, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return draws of Beta(alpha, alpha) without rejection, so that alpha may differ by member.

        Source: Devroye 1996, "Random variate generation in one line of code", symmetric beta:
        1/2 + S / (2 sqrt(1 + 1 / ((U^(-1/alpha) - 1) cos^2(2 pi V)))), S a random sign.
        """
        first = self.uniform(label + "/u", shape, torch.float64)
        second = self.uniform(label + "/v", shape, torch.float64)
        power = placed(alpha, first, torch.float64).clamp(min=1e-4)
        # In logs, because U^(-1/alpha) overflows for a small alpha. The cosine's law is symmetric: it gives the sign.
        spread = torch.expm1((-first.log() / power).clamp(max=700.0))
        cosine = torch.cos(2 * math.pi * second)
        root = torch.sqrt(1 + 1 / (spread * cosine * cosine).clamp(min=1e-300))
        return (0.5 + torch.sign(cosine) / (2 * root)).to(dtype)
