"""Augmentation of a batch, per operation and for the usual recipe, against libraries that draw for each sample.

    python benchmarks/augment.py            # measures, stores results/augment.json, prints the tables of docs
    python benchmarks/augment.py --page     # prints the tables of what is stored

Each arm in turn within each round; times are multiples of that of a clone of the same batch in bytes. Needs kornia,
albumentations 2.0.x and timm (`requirements.txt`); arms that cannot be imported are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import torch
from torch import Tensor

import poise
from poise import Recipe
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.kernels import available
from poise.train.memory import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "augment.json"
SIZES = {"128 x 3 x 32 x 32": (128, 32), "32 x 3 x 224 x 224": (32, 224)}
THREADS = (1, 2)
ROUNDS = 7
LEAST_SECONDS = 0.01  # of one arm in one round

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
    "recipe": lambda s: Recipe(
        poise.Flip(), poise.Crop(s // 8), poise.ColorJitter(0.4, 0.4, 0.4, 0.1), poise.Cutout(0.5)
    ),
}
"""The recipe is that of CIFAR: crop, flip, jitter, cutout."""


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
        "recipe": torch.nn.Sequential(
            k.RandomHorizontalFlip(p=0.5),
            k.RandomCrop((size, size), padding=size // 8, p=1.0, cropping_mode="slice"),
            k.ColorJitter(**jitter),
            k.RandomErasing(**cut),
        ),
    }
    mixes = {"mixup": k.RandomMixUpV2(p=1.0), "CutMix": k.RandomCutMixV2(p=1.0, data_keys=["input", "class"])}
    arms: dict[str, Arm] = {name: lambda edit=edit: edit(images) for name, edit in edits.items()}  # type: ignore[misc]
    arms["mixup"] = lambda: mixes["mixup"](images, labels)
    arms["CutMix"] = lambda: mixes["CutMix"](images, labels)
    return arms


def of_albumentations(images: Tensor, targets: Tensor) -> dict[str, Arm]:
    import albumentations as a

    rows = [one.permute(1, 2, 0).contiguous().numpy() for one in images]
    size = images.shape[-1]
    crop = [a.Pad(size // 8), a.RandomCrop(size, size)]
    jitter = a.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1), p=1.0)
    cut = a.CoarseDropout((1, 1), (size // 2, size // 2), (size // 2, size // 2), p=1.0)
    edits = {
        "flip": [a.HorizontalFlip(p=0.5)],
        "crop, pad s/8": crop,
        "rotate 15": [a.Rotate(15, p=1.0)],
        "affine": [a.Affine((0.9, 1.1), (-0.1, 0.1), rotate=(-15, 15), shear=(-10, 10), p=1.0)],
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
        "recipe": [a.HorizontalFlip(p=0.5), *crop, jitter, cut],
    }

    def arm(edit: Any) -> Arm:
        return lambda: [edit(image=row)["image"] for row in rows]

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


def seconds(arm: Arm, clock: Callable[[], float], calls: int) -> float:
    start = clock()
    for _ in range(calls):
        arm()
    return (clock() - start) / calls


def measured(
    arms: dict[str, Arm], clock: Callable[[], float], middle: Callable[[list[float]], float]
) -> dict[str, float]:
    """Return each arm's time, the `middle` of its rounds, as a multiple of the first arm's."""
    calls = {}
    # The quickest of many short samples is undisturbed; a median needs longer ones.
    count, least = (ROUNDS, LEAST_SECONDS) if middle is statistics.median else (2 * ROUNDS, LEAST_SECONDS / 10)
    for name, arm in arms.items():
        arm()
        calls[name] = max(1, min(2000, int(least / max(seconds(arm, time.perf_counter, 1), 1e-6))))
    rounds = [{name: seconds(arm, clock, calls[name]) for name, arm in arms.items()} for _ in range(count)]
    found = {name: middle([one[name] for one in rounds]) for name in arms}
    clone = next(iter(found.values()))
    return {name: time / clone for name, time in found.items()} | {"clone us": clone * 1e6}


def threads_of_peers(count: int) -> None:
    torch.set_num_threads(count)
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(count)


def run(chosen: list[int], only: list[str]) -> dict[str, Any]:
    """Measure and store cell by cell; what was stored of other threads and operations stays."""
    keep_freed_memory()  # for every arm: large blocks are not cleared anew
    torch.manual_seed(0)
    stored: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    cells: dict[str, dict[str, dict[str, dict[str, float]]]] = stored.get("cells", {})
    failures: dict[str, str] = {}
    stored |= {"native": available(), "torch": torch.__version__, "versions": versions(), "failures": failures}
    stored |= {"cells": cells, "processor": platform.processor() or platform.machine()}
    for label, (rows, size) in SIZES.items():
        smooth = torch.nn.functional.interpolate(torch.rand(rows, 3, 8, 8), (size, size), mode="bilinear")
        images, targets = (smooth * 255).round().to(torch.uint8), torch.eye(10)[torch.arange(rows) % 10]
        floats = images.float() / 255
        makers = {
            "poise": (of_poise, images),
            "poise float32": (of_poise, floats),
            "kornia float32": (of_kornia, floats),
            "albumentations": (of_albumentations, images),
            "timm float32": (of_timm, floats),
        }
        arms: dict[str, dict[str, Arm]] = {}
        for name, (make, given) in makers.items():
            try:
                arms[name] = make(given, targets)
            except ImportError as problem:
                failures[name] = str(problem)
        for threads in chosen:
            threads_of_peers(threads)
            # One thread by processor time, of which other work takes nothing; two by the wall, where they save
            # something, and by the quickest round, because a shared machine often has no second core to give.
            clock, middle = (time.process_time, statistics.median) if threads == 1 else (time.perf_counter, min)
            for operation in only or RECIPES:
                own = {name: one[operation] for name, one in arms.items() if operation in one}
                for name in list(own):
                    try:
                        own[name]()
                    except Exception as problem:  # noqa: BLE001 - a peer that fails is named
                        failures[f"{name}, {operation}"] = f"{type(problem).__name__}: {problem}"
                        del own[name]
                cell = measured({"clone": images.clone, **own}, clock, middle)
                cells.setdefault(label, {}).setdefault(str(threads), {})[operation] = cell
                RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
                print(label, threads, operation, {name: round(value, 1) for name, value in cell.items()}, flush=True)
    return stored


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("kornia", "albumentations", "timm", "opencv-python-headless"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def page(stored: dict[str, Any]) -> str:
    """Return the tables in Markdown; in bold the fastest of a row, and `behind` names each cell that poise loses."""
    lines, behind = [], []
    columns = ["poise", "poise float32", "kornia float32", "albumentations", "timm float32"]
    for label, by_threads in stored["cells"].items():
        for threads, operations in by_threads.items():
            clone = statistics.median(cell["clone us"] for cell in operations.values())
            multiples = f"processor time, medians, as multiples of a clone, {clone:.0f} us"
            by = multiples if threads == "1" else "microseconds of wall time, quickest round"
            lines += [f"**{label}, {threads} thread{'s' * (threads != '1')}** ({by})", "",
                      "| operation | " + " | ".join(columns) + " | best peer / poise |",
                      "|---|" + "---:|" * (len(columns) + 1)]  # fmt: skip
            for name, cell in operations.items():
                peers = {column: cell[column] for column in columns[2:] if column in cell}
                # Under other work, two threads of the clone wait for each other: no unit to measure by.
                unit = 1.0 if threads == "1" else cell["clone us"]
                shown = [f"{cell[column] * unit:,.0f}" if column in cell else "" for column in columns]
                ratio = min(peers.values()) / cell["poise"] if peers else None
                lines.append(f"| {name} | " + " | ".join(shown) + f" | {'' if ratio is None else f'{ratio:.1f}'} |")
                if ratio is not None and ratio < 1:
                    behind.append(f"{name} ({label}, {threads}): {ratio:.2f}")
            lines.append("")
    lines.append("Cells in which a peer is ahead: " + ("; ".join(behind) or "none") + ".")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="print the tables of what is stored")
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS), choices=THREADS)
    parser.add_argument(
        "--only", nargs="+", default=[], choices=list(RECIPES), help="these operations; all if left out"
    )
    arguments = parser.parse_args()
    if not arguments.page:
        run(arguments.threads, arguments.only)
    print(page(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
