"""A study of labelled images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pandas as pd

from poise.core.errors import ArgumentError, shown
from poise.data.images import Images, holds_images, read_images, read_pictures
from poise.data.pixels import PixelEncoder
from poise.study.choices import Choices
from poise.study.choices_images import for_side
from poise.study.image_network import ImageDesign
from poise.study.prepare import Prepared
from poise.study.prepare_images import prepare_images
from poise.study.source import Arguments, NewRows, Source, Weighting

__all__ = ["ImageSource"]


@dataclass(frozen=True)
class ImageSource(Source):
    """Labelled images; of each class at most `per_class` are developed on, drawn by the seed, all if None."""

    images: Images
    class_weight: Weighting
    design: ImageDesign
    per_class: int | None = None

    kind: ClassVar[str] = "image model"
    noun: ClassVar[str] = "images"
    plural: ClassVar[str] = "images"
    new: ClassVar[str] = "NEW_PICTURES"
    arguments: ClassVar[frozenset[str]] = frozenset({"per_class", "size", "network", "width", "depth"})
    encoder: ClassVar[type[PixelEncoder]] = PixelEncoder
    designs: ClassVar[type[ImageDesign]] = ImageDesign
    folds: ClassVar[int | None] = 1  # a convolution costs too much to be trained three times
    advice: ClassVar[str] = (
        "Give a larger budget, fewer images of each class (per_class), smaller pictures (size) or a narrower network "
        "(width)."
    )

    def __post_init__(self) -> None:
        if self.per_class is not None and (
            isinstance(self.per_class, bool) or not isinstance(self.per_class, int) or self.per_class < 4
        ):
            raise ArgumentError(
                f"`Study.per_class` must be None or an int >= 4; got {shown(self.per_class)}. Training, stopping and "
                "choosing need some images each."
            )

    @staticmethod
    def takes(given: object, told: Arguments) -> bool:
        """A folder, an .npz or IDX file, or what `poise.data.images.read_images` returned."""
        return isinstance(given, Images) or holds_images(given)

    @classmethod
    def of(cls, given: Any, told: Arguments) -> Self:
        """Read the images."""
        images = given
        if not isinstance(given, Images):
            images = read_images(str(given), size=told.size, bad=told.bad_images, cache=told.cache)
        return cls(images, told.class_weight, cls.designed(told), told.per_class)

    @property
    def name(self) -> str:
        """The folder's or file's name."""
        return self.images.name

    @property
    def choices(self) -> Choices:
        """The parts for such a network and pictures of this side; grey ones have no colours to jitter."""
        _, channels, height, width = self.images.pixels.shape
        own = for_side(self.design.choices, min(height, width))
        return own if channels == 3 else own.without("color_jitter")

    def prepare(self, seed: int) -> Prepared:
        """Divide and encode the images."""
        return prepare_images(
            self.images, seed=seed, class_weight=self.class_weight, design=self.design, per_class=self.per_class
        )

    @classmethod
    def read_new(cls, path: str, encoder: PixelEncoder, *, encoding: str | None, delimiter: str | None) -> NewRows:
        """Read pictures in the size that was learned."""
        size = encoder.height, encoder.width
        pixels, names = read_pictures(path, channels=encoder.channels, size=size)
        return NewRows(pixels, pd.DataFrame({"image": list(names)}))
