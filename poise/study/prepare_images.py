"""Labelled images made ready for a study: divided, cut to some of each class if asked, brought to tensors."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from poise.data import Table, Target, split
from poise.data.images import Images
from poise.data.pixels import PixelEncoder
from poise.data.split import split_beside
from poise.study.heads import Head
from poise.study.image_network import ImageDesign
from poise.study.prepare import Prepared
from poise.study.problem import Problem

__all__ = ["TEST_CAP", "prepare_images"]

_TARGET = "class"
TEST_CAP = 2_000  # test images; more would cost more time than they sharpen the interval


def prepare_images(
    images: Images,
    *,
    seed: int,
    class_weight: Literal["balanced"] | None,
    design: ImageDesign,
    per_class: int | None,
) -> Prepared:
    """Divide the images and encode them; of the test part nothing is fitted.

    The test part is the one that the data bring, else a fifth; of more than 2,000 test images so many are drawn. With
    `per_class`, the other rows are cut to so many of each class, and the test part stays.
    """
    notes = [f"{len(images.skipped)} images were skipped: {line}" for line in images.skipped[:1]]
    kept, held = _kept(images, seed, per_class)
    if images.test is not None and int(images.test.sum()) > int(held.sum()):
        notes.append(f"{int(held.sum())} of the {int(images.test.sum())} test images are used, drawn by the seed.")
    labels = pd.Series(images.labels[kept], name=_TARGET)
    parts = split_beside(held, labels, task="classification", seed=seed)
    development = np.sort(np.concatenate([parts.train, parts.stop, parts.validation]))
    target = Target.fit(labels.iloc[development].reset_index(drop=True), task="classification", name=_TARGET)
    codes = target.encode(labels)
    encoder = PixelEncoder.fit(images.pixels[kept[development]])
    inputs = encoder.transform(images.pixels[kept])
    weights = target.class_weights(class_weight) if class_weight else None
    problem = Problem.of(
        inputs[development],
        [codes[development]],
        [Head.of(target.name, len(target.labels), weights)],
        plan=design.plan(encoder),
        design=design,
    )
    names = np.asarray(images.names, dtype=object)[kept]
    shape = f"{encoder.height} x {encoder.width}, {'colour' if encoder.channels == 3 else 'grey'}"
    return Prepared(
        Table(images.name, pd.DataFrame({"image": names}), pd.DataFrame({_TARGET: labels})),
        kept,
        (target,),
        parts,
        development,
        inputs,
        (codes,),
        encoder,
        problem,
        {"image": shape},
        tuple(notes),
        None,
        None,
        names="image",
    )


def _kept(images: Images, seed: int, per_class: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to use, and which of these are the test part."""
    held = images.test
    if held is None:
        # Divided before it is cut, so that the test part is the same for every number of images a class.
        labels = pd.Series(images.labels)
        parts = split(labels, task="classification", seed=seed, test=0.2, validation=0.0, stop=0.0)
        held = np.zeros(len(labels), dtype=bool)
        held[parts.test] = True
    rows = np.flatnonzero(~held)
    if per_class is not None:
        generator = np.random.default_rng(seed)
        shuffled = generator.permutation(rows)
        order = pd.Series(images.labels[shuffled]).groupby(images.labels[shuffled]).cumcount().to_numpy()
        rows = np.sort(shuffled[order < per_class])
    test = np.flatnonzero(held)
    if len(test) > TEST_CAP:
        test = np.random.default_rng(seed).permutation(test)[:TEST_CAP]
    kept = np.sort(np.concatenate([rows, test]))
    return kept, held[kept]
