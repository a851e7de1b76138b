"""Draws of samples, not of places: each row's numbers are a function of (study seed, member, sample id, epoch, name).

So the same sample gets the same crop in the same epoch, whatever batch it comes in, in whatever order, from however
many workers. The generator is the one of `poise.core.rng`, Philox4x64-10, with the epoch where the step stands there,
and 1 + the sample's id in the counter's last word, which is 0 there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from poise.core.context import Batch
from poise.core.errors import ArgumentError, shown
from poise.core.philox import philox, seeds_of
from poise.core.rng import Rng, seen_as, stream
from poise.kernels import available
from poise.kernels.visits import fill_visit_words

__all__ = ["VisitRng", "draws_of", "visits_of"]


def visits_of(ids: object, epoch: object, rows: int) -> Tensor | None:
    """Return the visits (B, 2) of a batch, sample id and epoch, or None if it has no ids.

    Shapes: ids (B,) of integers >= 0; epoch an int >= 0, or (B,) where rows of two epochs meet. Raises: ArgumentError.
    """
    if ids is None and epoch is None:
        return None
    # Without the epoch, every epoch would show the same pictures; without ids it would say nothing.
    for name, given in (("ids", ids), ("epoch", epoch)):
        if given is None:
            raise ArgumentError(
                f"`Run.batch.{name}` must be given with the other of ids and epoch; got None. "
                "Leave both out for draws by the row's place in the batch."
            )
    found = [_whole(name, given) for name, given in (("ids", ids), ("epoch", epoch))]
    if found[0].shape != (rows,) or found[1].shape not in ((), (rows,)):
        raise ArgumentError(
            f"`Run.batch.ids` must have one id for each of the {rows} rows, and epoch be one number or as many; got "
            f"shapes {tuple(found[0].shape)} and {tuple(found[1].shape)}. Ids are row numbers of the data set."
        )
    return torch.stack([found[0], found[1].expand(rows)], -1)


def _whole(name: str, given: object) -> Tensor:
    try:
        found = torch.as_tensor(given, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        found = torch.tensor(math.nan)
    if found.dtype == torch.bool or found.is_floating_point() or found.is_complex() or bool((found < 0).any()):
        raise ArgumentError(
            f"`Run.batch.{name}` must be whole numbers >= 0; got {shown(given)}. "
            "Ids are row numbers of the data set, the epoch counts from 0."
        )
    return found.to(torch.int64)


def draws_of(rng: Rng, batch: Batch) -> Rng:
    """Return the draws of a batch's rows: by sample if it has visits, else by place."""
    return rng if batch.visits is None else VisitRng(rng.keys, rng.name, batch.visits)


class VisitRng(Rng):
    """Random draws of the rows of a batch, each row's own: every shape that is asked for begins with the rows.

    Shapes: keys (3,), visits (B, 2) int64; under `torch.vmap` they are those of one member.
    """

    def __init__(self, keys: Tensor, name: str, visits: Tensor) -> None:
        super().__init__(keys, name)
        self.visits = visits

    def fold(self, name: str) -> VisitRng:
        return VisitRng(self.keys, f"{self.name}/{name}", self.visits)

    def words(self, label: str, count: int) -> Tensor:
        """Return (B, count) int64 words, `count` for each row."""
        return visit_words(self.keys, self.visits, f"{self.name}/{label}", count)

    def numbers(self, label: str, shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
        """Return random integers of a kind, in a shape (B, ...)."""
        if not shape or shape[0] != self.visits.shape[0]:
            raise RuntimeError(f"draws of {self.visits.shape[0]} samples need a shape that begins so; got {shape}")
        size, packed = math.prod(shape[1:]), 8 // kind.itemsize
        return seen_as(self.words(label, -(-size // packed)), kind)[..., :size].reshape(shape)

    def permutation(self, label: str, count: int) -> Tensor:
        """Return a uniformly random permutation of the rows, that of the set of samples: it moves with their order.

        Two random orders of the samples; the partner of the k-th in one is the k-th in the other.
        """
        words = self.words(label, 2)
        first, second = (torch.argsort(words[:, k], stable=True) for k in range(2))
        return torch.empty_like(first).scatter(0, first, second)


def visit_words(keys: Tensor, visits: Tensor, name: str, count: int) -> Tensor:
    """Return `count` random int64 words for each row. Shapes: keys (3,), visits (B, 2) -> (B, count); or mapped."""
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.ops.poise.visit_words(keys, visits, name, count)
        return compiled
    if functorch.maybe_current_level() is None:
        return _words(keys[None], visits[None], stream(name), count)[0]
    mapped = [functorch.is_batchedtensor(given) for given in (keys, visits)]
    if any(mapped):
        level = max(functorch.maybe_get_level(given) for given in (keys, visits))
        with temporarily_clear_interpreter_stack():
            raw = [
                functorch.get_unwrapped(given).movedim(functorch.maybe_get_bdim(given), 0) if own else given[None]
                for given, own in zip((keys, visits), mapped, strict=True)
            ]
            found = _words(raw[0], raw[1], stream(name), count)
        batched: Tensor = functorch._add_batch_dim(found, 0, level)
        return batched
    with temporarily_clear_interpreter_stack():
        return _words(keys[None], visits[None], stream(name), count)[0]


def _words(keys: Tensor, visits: Tensor, number: int, count: int) -> Tensor:
    """Return the words (M, B, count) of keys (M or 1, 3) and visits (M or 1, B, 2)."""
    members, rows = max(keys.shape[0], visits.shape[0]), visits.shape[1]
    own_keys, own_visits = keys.expand(members, 3), visits.expand(members, rows, 2)
    if available() and keys.is_cpu:
        out = torch.empty(members, rows, count, dtype=torch.int64, device=keys.device)
        fill_visit_words(out, own_keys.contiguous(), own_visits.contiguous(), number)
        return out
    # On the device of the keys: the visits come from there in a population, and are few in a run.
    own_visits = own_visits.to(keys.device)
    first, second = (seed[:, None] for seed in seeds_of(own_keys, number))
    return philox(first, second, count, epoch=own_visits[..., 1], row=own_visits[..., 0] + 1)


_operators = torch.library.Library("poise", "FRAGMENT")
_operators.define("visit_words(Tensor keys, Tensor visits, str name, int count) -> Tensor")


@torch.library.impl(_operators, "visit_words", "CompositeExplicitAutograd")
def _visit_words(keys: Tensor, visits: Tensor, name: str, count: int) -> Tensor:
    return visit_words(keys, visits, name, count)


@torch.library.register_fake("poise::visit_words", lib=_operators)  # type: ignore[untyped-decorator]
def _visit_words_shape(keys: Tensor, visits: Tensor, name: str, count: int) -> Tensor:
    return keys.new_empty((visits.shape[0], count), dtype=torch.int64)
