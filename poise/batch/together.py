"""A recipe's neighbouring image parts done at once: each image goes through all of them while it is in the cache.

It is read once and written once, as bytes if it came as bytes. The result is that of the parts one after the other, but
for two things: geometric parts are composed (`poise.batch.geometry`), and floats of 16 bits are rounded once, at the
end. Parts that only torch does come in between, and so do the kernels before and after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor

from poise.batch.geometry import Composition, GeometricTransform
from poise.batch.images import ImageTransform, images_of, run_programs
from poise.core.context import Batch, Context
from poise.core.visits import draws_of

__all__ = ["edit_together"]


@dataclass(frozen=True)
class _Single:
    """The edit of one part by its draw."""

    part: ImageTransform
    draw: Any

    @property
    def owner(self) -> str:
        return self.part.pixels_of()

    def steps(self, images: Tensor) -> Tensor | None:
        return self.part.steps(images, self.draw)

    def edit(self, images: Tensor) -> Tensor:
        return self.part.edit(images, self.draw)


def edit_together(parts: Sequence[ImageTransform], batch: Batch, ctx: Context) -> Batch:
    """Return the batch after the parts in their order; each part draws what it would draw alone."""
    images, draws = images_of(type(parts[0]).__name__, batch), []
    for part in parts:
        part.check(images)
        own = ctx.within(part.name)
        draws.append(part.draw(draws_of(own.rng, batch), batch, own))  # of shapes and types, never of pixels
    half = images.is_floating_point() and images.dtype.itemsize == 2
    edited = images.float() if half else images
    waiting: list[tuple[Tensor, str]] = []
    for edit in _edits(parts, draws):
        steps = edit.steps(edited)
        if steps is None:
            edited, waiting = edit.edit(run_programs(edited, waiting)), []
        else:
            waiting.append((steps, edit.owner))
    return batch._replace(inputs=run_programs(edited, waiting).to(images.dtype))


def _edits(parts: Sequence[ImageTransform], draws: Sequence[Any]) -> Iterator[_Single | Composition]:
    for geometric, group in groupby(zip(parts, draws, strict=True), lambda one: isinstance(one[0], GeometricTransform)):
        own = list(group)
        if geometric and len(own) > 1:
            yield Composition(*zip(*own, strict=True))
        else:
            yield from (_Single(*one) for one in own)
