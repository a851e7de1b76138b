"""A data set whose images come augmented, also from a DataLoader's workers: the same pictures as `run.batch` gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from poise.batch.images import ImageTransform
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError, shown
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.core.schedule import Schedule
from poise.core.visits import visits_of

__all__ = ["Augmented"]


class Augmented(Dataset[Any]):
    """A data set with a recipe's image parts applied to the first entry of each sample.

    Draws are a function of (seed, index, epoch, part): `run.batch(x, y, ids=indices, epoch=epoch)` with the same seed
    gives the same pictures, and so does any number of workers, batch size or order. Call `set_epoch` before each epoch,
    as with torch's DistributedSampler; workers that stay alive hear of it too. A batch that a DataLoader asks for is
    edited at once. Parts that mix rows need the whole batch: leave them to `run.batch`.

    Raises: ArgumentError if a part is no edit of images, a dial is a schedule or holds one number a member, the data
        have no length, or the epoch is no int >= 0; if a sample's first entry is no image (C, H, W).

    >>> from poise import Flip
    >>> pictures = [(torch.tensor([[[1.0, 2.0]]]), label) for label in range(4)]
    >>> flipped = Augmented(pictures, Recipe(Flip(1.0)), seed=3)
    >>> flipped.set_epoch(1)
    >>> flipped[2]
    (tensor([[[2., 1.]]]), 2)
    """

    def __init__(self, dataset: Any, recipe: Recipe, *, seed: int = 0) -> None:
        for part in recipe:
            if not isinstance(part, ImageTransform):
                raise ArgumentError(
                    f"`Augmented.recipe` must hold edits of single images; got {type(part).__name__}. "
                    "Leave parts that mix rows or act elsewhere to a run: run.batch(x, y)."
                )
            for field, value in part.dials().items():
                if isinstance(value, (Schedule, Tensor)):
                    raise ArgumentError(
                        f"`Augmented.recipe` must hold plain numbers; got {part.name}.{field} = {shown(value)}. "
                        "A data set knows no step and no members."
                    )
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise ArgumentError(
                f"`Augmented.dataset` must have a length and samples by index; got {type(dataset).__name__}. "
                "A sample's index is its id."
            )
        self.dataset, self.recipe, self.seed = dataset, recipe, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # seen by workers that stay alive

    @property
    def epoch(self) -> int:
        """The epoch whose pictures are given."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Give the pictures of another epoch from now on."""
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise ArgumentError(f"`Augmented.epoch` must be an int >= 0; got {shown(epoch)}. Epochs count from 0.")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return the samples of a batch, as a DataLoader asks for them: images of one size are edited at once."""
        ids = [int(index) % len(self.dataset) for index in indices]  # -1 is the last sample, as in a list
        samples = [self.dataset[index] for index in ids]
        images = [_image_of(sample) for sample in samples]
        kinds: dict[Any, list[int]] = {}
        for place, image in enumerate(images):
            kinds.setdefault((image.shape, image.dtype), []).append(place)
        for places in kinds.values():
            edited = self._edited(torch.stack([images[place] for place in places]), [ids[place] for place in places])
            for place, image in zip(places, edited.unbind(0), strict=True):
                images[place] = image
        return [_with_image(sample, image) for sample, image in zip(samples, images, strict=True)]

    def _edited(self, images: Tensor, ids: list[int]) -> Tensor:
        batch = Batch(images, torch.zeros(len(ids)), None, visits_of(ids, self.epoch, len(ids)))
        ctx = Context(0, Rng(key(self.seed)))
        edited: Tensor = self.recipe.fold("batch", batch, self.recipe.remember({}), ctx)[0].inputs
        return edited


def _image_of(sample: Any) -> Tensor:
    image = sample[0] if isinstance(sample, (tuple, list)) and sample else sample
    if not isinstance(image, Tensor) or image.dim() != 3:
        got = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise ArgumentError(
            f"`Augmented.dataset` must give images (channels, height, width), alone or first in a tuple; got {got}. "
            "Convert them to tensors first; grey images need a channel: image[None]."
        )
    return image


def _with_image(sample: Any, image: Tensor) -> Any:
    if not isinstance(sample, (tuple, list)):
        return image
    rest = (image, *sample[1:])
    return type(sample)(*rest) if hasattr(sample, "_fields") else type(sample)(rest)
