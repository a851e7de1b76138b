"""One call of each library for each operation of `augment.py`, side by side: what each draws for every sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import poise
from poise import Recipe
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key

__all__ = ["RECIPES", "Arm", "arms_of"]

Arm = Callable[[], object]

RECIPES: dict[str, Callable[[int], Recipe]] = {
    "flip": lambda s: Recipe(poise.Flip()),
    "crop, pad s/8": lambda s: Recipe(poise.Crop(s // 8)),
    "rotate 15": lambda s: Recipe(poise.Affine(15.0, 0.0, 0.0, 0.0)),
    "affine": lambda s: Recipe(poise.Affine(15.0, 0.1, 0.1, 10.0)),
    "resized crop": lambda s: Recipe(poise.RandomResizedCrop(0.25)),
    "jitter .4 .4 .4 .1": lambda s: Recipe(poise.ColorJitter(0.4, 0.4, 0.4, 0.1)),
    "gray": lambda s: Recipe(poise.Grayscale(1.0)),
    "solarize": lambda s: Recipe(poise.Solarize(1.0)),
    "posterize": lambda s: Recipe(poise.Posterize(1.0)),
    "equalize": lambda s: Recipe(poise.Equalize(1.0)),
    "sharpness": lambda s: Recipe(poise.Sharpness(0.9)),
    "blur 7": lambda s: Recipe(poise.Blur(1.0, 2.0, 3)),
    "cutout s/2": lambda s: Recipe(poise.Cutout(0.5)),
    "erasing": lambda s: Recipe(poise.RandomErasing(1.0, fill="zero")),
    "grid mask": lambda s: Recipe(poise.GridMask(1.0)),
    "mixup": lambda s: Recipe(poise.Mixup(1.0)),
    "CutMix": lambda s: Recipe(poise.CutMix()),
    "RandAugment 2": lambda s: Recipe(poise.RandAugment()),
    "TrivialAugment": lambda s: Recipe(poise.TrivialAugment()),
    "flip, crop, affine": lambda s: Recipe(poise.Flip(), poise.Crop(s // 8), poise.Affine(15.0, 0.1, 0.1, 10.0)),
    "small recipe": lambda s: Recipe(
        poise.Flip(), poise.Crop(s // 8), poise.ColorJitter(0.4, 0.4, 0.4, 0.1), poise.Cutout(0.5)
    ),
    "large recipe": lambda s: Recipe(
        poise.Flip(), poise.RandomResizedCrop(0.25), poise.ColorJitter(0.4, 0.4, 0.4, 0.1),
        poise.RandomErasing(0.25, fill="zero"),
    ),
}  # fmt: skip
"""The small recipe is that of CIFAR (flip, crop, jitter, cutout), the large one that of ImageNet (flip, resized crop,
jitter, erasing)."""


def of_poise(images: Tensor, targets: Tensor) -> dict[str, Arm]:
    rows = len(images)
    visits = torch.stack([torch.arange(rows), torch.zeros(rows, dtype=torch.int64)], -1)

    def arm(recipe: Recipe) -> Arm:
        memory, step = recipe.remember({}), iter(range(1 << 60))

        def once() -> object:
            now = next(step)
            ctx = Context(now, Rng(key(0, 0, now)), classes=10)
            return recipe.fold("batch", Batch(images, targets, None, visits), memory, ctx)

        return once

    return {name: arm(make(images.shape[-1])) for name, make in RECIPES.items()}


def of_kornia(images: Tensor, targets: Tensor) -> dict[str, Arm]:
    import kornia.augmentation as k

    size = images.shape[-1]
    labels = targets.argmax(1)
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "p": 1.0}
    cut = {"scale": (0.25, 0.25), "ratio": (1.0, 1.0), "p": 1.0}
    edits = {
        "flip": k.RandomHorizontalFlip(p=0.5),
        "crop, pad s/8": k.RandomCrop((size, size), padding=size // 8, p=1.0, cropping_mode="slice"),
        "rotate 15": k.RandomRotation(15.0, p=1.0),
        "affine": k.RandomAffine(15.0, (0.1, 0.1), (0.9, 1.1), (-10.0, 10.0), p=1.0),
        "resized crop": k.RandomResizedCrop((size, size), (0.25, 1.0), p=1.0),
        "jitter .4 .4 .4 .1": k.ColorJitter(**jitter),
        "gray": k.RandomGrayscale(p=1.0),
        "solarize": k.RandomSolarize(0.1, 0.1, p=1.0),
        "posterize": k.RandomPosterize(4.0, p=1.0),
        "equalize": k.RandomEqualize(p=1.0),
        "sharpness": k.RandomSharpness(0.9, p=1.0),
        "blur 7": k.RandomGaussianBlur((7, 7), (0.1, 2.0), p=1.0),
        "cutout s/2": k.RandomErasing(**cut),
        "erasing": k.RandomErasing(p=1.0),
        "RandAugment 2": k.auto.RandAugment(n=2, m=15),
        "TrivialAugment": k.auto.TrivialAugment(),
        "flip, crop, affine": torch.nn.Sequential(
            k.RandomHorizontalFlip(p=0.5),
            k.RandomCrop((size, size), padding=size // 8, p=1.0, cropping_mode="slice"),
            k.RandomAffine(15.0, (0.1, 0.1), (0.9, 1.1), (-10.0, 10.0), p=1.0),
        ),
        "small recipe": torch.nn.Sequential(
            k.RandomHorizontalFlip(p=0.5),
            k.RandomCrop((size, size), padding=size // 8, p=1.0, cropping_mode="slice"),
            k.ColorJitter(**jitter),
            k.RandomErasing(**cut),
        ),
        "large recipe": torch.nn.Sequential(
            k.RandomHorizontalFlip(p=0.5),
            k.RandomResizedCrop((size, size), (0.25, 1.0), p=1.0),
            k.ColorJitter(**jitter),
            k.RandomErasing(p=0.25),
        ),
    }
    mixes = {"mixup": k.RandomMixUpV2(p=1.0), "CutMix": k.RandomCutMixV2(p=1.0, data_keys=["input", "class"])}
    arms: dict[str, Arm] = {name: lambda edit=edit: edit(images) for name, edit in edits.items()}  # type: ignore[misc]
    arms["mixup"] = lambda: mixes["mixup"](images, labels)
    arms["CutMix"] = lambda: mixes["CutMix"](images, labels)
    return arms


def of_albumentations(images: Tensor, targets: Tensor, *, stacked: bool) -> dict[str, Arm]:
    import albumentations as a

    rows = [one.permute(1, 2, 0).contiguous().numpy() for one in images]
    size = images.shape[-1]
    crop = [a.Pad(size // 8), a.RandomCrop(size, size)]
    jitter = a.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1), p=1.0)
    cut = a.CoarseDropout((1, 1), (size // 2, size // 2), (size // 2, size // 2), p=1.0)
    affine = a.Affine((0.9, 1.1), (-0.1, 0.1), rotate=(-15, 15), shear=(-10, 10), p=1.0)
    edits = {
        "flip": [a.HorizontalFlip(p=0.5)],
        "crop, pad s/8": crop,
        "rotate 15": [a.Rotate(15, p=1.0)],
        "affine": [affine],
        "resized crop": [a.RandomResizedCrop((size, size), (0.25, 1.0), p=1.0)],
        "jitter .4 .4 .4 .1": [jitter],
        "gray": [a.ToGray(p=1.0)],
        "solarize": [a.Solarize(p=1.0)],
        "posterize": [a.Posterize(p=1.0)],
        "equalize": [a.Equalize(p=1.0)],
        "sharpness": [a.Sharpen(p=1.0)],
        "blur 7": [a.GaussianBlur((7, 7), (0.1, 2.0), p=1.0)],
        "cutout s/2": [cut],
        "erasing": [a.Erasing(p=1.0)],
        "grid mask": [a.GridDropout(0.5, p=1.0)],
        "flip, crop, affine": [a.HorizontalFlip(p=0.5), *crop, affine],
        "small recipe": [a.HorizontalFlip(p=0.5), *crop, jitter, cut],
        "large recipe": [
            a.HorizontalFlip(p=0.5),
            a.RandomResizedCrop((size, size), (0.25, 1.0), p=1.0),
            jitter,
            a.Erasing(p=0.25),
        ],
    }

    def arm(edit: Any) -> Arm:
        def once() -> object:
            edited = [edit(image=row)["image"] for row in rows]
            return torch.from_numpy(np.stack(edited)) if stacked else edited

        return once

    return {name: arm(a.Compose(parts)) for name, parts in edits.items()}


def of_timm(images: Tensor, targets: Tensor) -> dict[str, Arm]:
    # The file alone: the package imports torchvision, which this needs nothing of.
    found = find_spec("timm")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("timm")
    spec = spec_from_file_location("timm_mixup", Path(found.origin).parent / "data" / "mixup.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    labels = targets.argmax(1)

    def arm(**options: float) -> Arm:
        mix = module.Mixup(mode="elem", num_classes=10, label_smoothing=0.0, **options)
        return lambda: mix(images.clone(), labels)  # it writes into what it is given

    return {"mixup": arm(mixup_alpha=1.0, cutmix_alpha=0.0), "CutMix": arm(mixup_alpha=0.0, cutmix_alpha=1.0)}


def of_torchvision(images: Tensor, targets: Tensor) -> dict[str, Arm]:
    from torchvision.transforms import v2 as t

    size = images.shape[-1]
    crop = t.RandomCrop(size, padding=size // 8)
    jitter, cut = t.ColorJitter(0.4, 0.4, 0.4, 0.1), t.RandomErasing(1.0, (0.25, 0.25), (1.0, 1.0))
    resized, affine = t.RandomResizedCrop(size, (0.25, 1.0)), t.RandomAffine(15.0, (0.1, 0.1), (0.9, 1.1), 10.0)
    edits = {
        "flip": [t.RandomHorizontalFlip()],
        "crop, pad s/8": [crop],
        "rotate 15": [t.RandomRotation(15.0, t.InterpolationMode.BILINEAR)],
        "affine": [affine],
        "resized crop": [resized],
        "jitter .4 .4 .4 .1": [jitter],
        "gray": [t.RandomGrayscale(1.0)],
        "solarize": [t.RandomSolarize(128, 1.0)],
        "posterize": [t.RandomPosterize(4, 1.0)],
        "equalize": [t.RandomEqualize(1.0)],
        "sharpness": [t.RandomAdjustSharpness(1.9, 1.0)],
        "blur 7": [t.GaussianBlur(7, (0.1, 2.0))],
        "cutout s/2": [cut],
        "erasing": [t.RandomErasing(1.0)],
        "RandAugment 2": [t.RandAugment()],
        "TrivialAugment": [t.TrivialAugmentWide()],
        "flip, crop, affine": [t.RandomHorizontalFlip(), crop, affine],
        "small recipe": [t.RandomHorizontalFlip(), crop, jitter, cut],
        "large recipe": [t.RandomHorizontalFlip(), resized, jitter, t.RandomErasing(0.25)],
    }

    def arm(edit: Any) -> Arm:
        return lambda: torch.stack([edit(row) for row in images])  # a batch would get one draw

    return {name: arm(t.Compose(parts)) for name, parts in edits.items()}


def arms_of(images: Tensor, targets: Tensor, failures: dict[str, str]) -> dict[str, dict[str, Arm]]:
    """Return the arms that can be imported, by library and operation."""
    floats = images.float() / 255
    makers = {
        "poise": (of_poise, images),
        "poise float32": (of_poise, floats),
        "kornia float32": (of_kornia, floats),
        "albumentations": (partial(of_albumentations, stacked=True), images),
        "albumentations, rows": (partial(of_albumentations, stacked=False), images),
        "torchvision": (of_torchvision, images),
        "timm float32": (of_timm, floats),
    }
    arms: dict[str, dict[str, Arm]] = {}
    for name, (make, given) in makers.items():
        failures.pop(name, None)
        try:
            arms[name] = make(given, targets)
        except (ImportError, RuntimeError) as problem:  # an operator that its binary lacks
            failures[name] = f"{type(problem).__name__}: {problem}"
    return arms
