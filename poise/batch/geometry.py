"""Geometry composed: where several parts move the pixels of an image, their maps become one, and it is read once.

A map leads from a place of the result to the place of the image that it shows, in pixels from the centre. The parts in
their order compose to M = M_1 M_2 ... M_n, and the image as it was given is read at M (x, y, 1), bilinearly. Unlike one
part after the other, pixels are interpolated once and not n times, and there is one border, that of the given image:
what a crop pushes out of the picture and a rotation brings back is seen, where the crop's padding would be. Beyond that
border stands what the last part with a padding says that moved the row; the border's pixels, if none did.

Rows that are moved by whole pixels alone (flips and crops) are gathered, part by part, bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from poise.batch.images import ImageTransform, rows_where
from poise.batch.resampling import PADDINGS, affine, identity_maps
from poise.kernels.images import serves, step

__all__ = ["Composition", "GeometricTransform", "composed"]


@dataclass(frozen=True, kw_only=True)
class GeometricTransform(ImageTransform, abstract=True):
    """An edit that reads each pixel at another place; neighbours of this kind become one `Composition`.

    `whole` is "mirror" or "shift" where it moves whole pixels, so that its edit is a gather; "" where it interpolates.
    """

    whole: ClassVar[str] = ""

    @abstractmethod
    def maps(self, images: Tensor, draw: Any) -> Tensor:
        """Return each row's map (B, 2, 3) from a place of the result to that of the image, from the centre."""

    @abstractmethod
    def program(self, images: Tensor, draw: Any) -> Tensor:
        """Return the edit as steps (B, K, 8) of `poise.kernels.images`."""

    def border(self) -> str | None:
        """Return what stands beyond the border, or None if this part shows nothing of it."""
        return None


def composed(first: Tensor, second: Tensor) -> Tensor:
    """Return the map that is `first` of the image that `second` reads: both (B, 2, 3), and so is it.

    >>> double, right = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]]), torch.tensor([[[1.0, 0, 3], [0, 1.0, 0]]])
    >>> composed(double, right)
    tensor([[[2., 0., 6.],
             [0., 2., 0.]]])
    """
    # Sums of two products written out: a matrix product may round otherwise for many members than for one.
    product = (first[..., :, :2, None] * second[..., None, :, :]).sum(-2)
    return torch.cat([product[..., :2], product[..., 2:] + first[..., 2:]], -1)


@dataclass(frozen=True)
class Composition:
    """The edit of neighbouring geometric parts, each with its draw, in their order."""

    parts: Sequence[GeometricTransform]
    draws: Sequence[Any]
    owner: ClassVar[str] = ""  # pixels may be of any scale

    def edit(self, images: Tensor) -> Tensor:
        """Return the images after all parts (B, C, H, W)."""
        moved = images
        for part, draw in self._gathers():
            moved = part.edit(moved, draw)
        if self._interpolates():
            maps, resampled, padding = self.maps(images)
            for name in sorted({part.border() or "edge" for part in self.parts if part.border() or not part.whole}):
                own = resampled & (padding == PADDINGS.index(name))
                moved = rows_where(own, affine(images, maps, name), moved)
        return moved

    def steps(self, images: Tensor) -> Tensor | None:
        """Return the same as steps (B, K, 8): gathers, or one resampling for the rows that need it; None for torch."""
        if not serves(images):
            return None
        programs: list[Tensor] = []
        kinds: list[str] = []
        for part, draw in self._gathers():
            own = part.program(images, draw)
            if kinds[-1:] == ["mirror"] and part.whole == "shift":  # one gather does both
                programs[-1] = torch.cat([own[..., :3], programs[-1][..., 3:5], own[..., 5:]], -1)
            else:
                programs.append(own)
            kinds.append(part.whole)
        if not self._interpolates():
            return torch.cat(programs, 1)
        maps, resampled, padding = self.maps(images)
        resampling = step("affine", images, *maps.flatten(1).unbind(-1), padding, where=resampled)[:, None]
        gathers = [rows_where(resampled, torch.zeros_like(one), one) for one in programs]  # 0 is "nothing"
        return torch.cat([*gathers, resampling], 1)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return each row's composed map (B, 2, 3), whether it needs a resampling (B,), and its padding's number."""
        own = [part.maps(images, draw).to(torch.float64) for part, draw in zip(self.parts, self.draws, strict=True)]
        moves = [(one != identity_maps(one.shape[0], one)).flatten(1).any(1) for one in own]
        whole, resampled = own[0], torch.zeros_like(moves[0])
        padding = torch.full_like(moves[0], PADDINGS.index("edge"), dtype=torch.int64)
        for place, part in enumerate(self.parts):
            if place:
                whole = composed(whole, own[place])
            if not part.whole:
                resampled = resampled | moves[place]
            if border := part.border():
                padding = torch.where(moves[place], PADDINGS.index(border), padding)
        return whole.to(torch.float32), resampled, padding

    def _interpolates(self) -> bool:
        return not all(part.whole for part in self.parts)

    def _gathers(self) -> list[tuple[GeometricTransform, Any]]:
        return [(part, draw) for part, draw in zip(self.parts, self.draws, strict=True) if part.whole]
