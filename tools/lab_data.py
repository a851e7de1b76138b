"""Write what figures of the lab read instead of computing it on the spot: `python tools/lab_data.py [figure ...]`.

Takes 4 minutes. Tests compute some of the cells again.
"""

import json
import sys
from pathlib import Path

import torch

from poise.core.interval import Interval
from poise.lab.figures import augment, augment_study, decay_heat, multitask, small_study, which_one

COMMAND = "python tools/lab_data.py"


def write_augment() -> None:
    keys: list[tuple[str | None, float]] = [(None, 0.0)]
    keys += [(key, strength) for key in augment.augmentations() for strength in augment_study.STRENGTHS]
    cells: list[dict[str, object]] = []
    for key in keys:
        cells.append({"cell": key, "right": augment_study.measured(*key)})
        print(f"augment {len(cells)} of {len(keys)}", file=sys.stderr)
    write(augment_study.STORE, cells)


def write_multitask() -> None:
    cells = []
    for place, cell in enumerate(multitask.CELLS, 1):
        alone, together = multitask.measured(*cell)
        cells.append({"cell": cell, "alone": alone, "together": together})
        print(f"multitask {place} of {len(multitask.CELLS)}", file=sys.stderr)
    write(multitask.STORE, cells)


def write_which_one() -> None:
    cells: list[dict[str, object]] = []
    for cell in which_one.CELLS:
        found = [small_study.scores_of_seed(*cell, seed) for seed in range(which_one.MANY)]
        scores = {label: [one[label] for one in found] for label in found[0]}
        parts = {}
        for seeds in range(2, which_one.MANY + 1):
            worth = small_study.worth(*cell, {label: values[:seeds] for label, values in scores.items()})
            parts[seeds] = [
                [one.part, ends(one.alone), one.alone_seeds, ends(one.left_out), one.left_out_seeds, one.verdict]
                for one in worth
            ]
        metric = small_study.metric_of(cell[0])
        cells.append({"cell": cell, "metric": metric, "scores": scores, "parts": parts})
        print(f"which_one {' '.join(cell)}", file=sys.stderr)
    write(which_one.STORE, cells)


def ends(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]


def write(path: Path, cells: list[dict[str, object]]) -> None:
    """Write one cell a line, so that a change is seen."""
    lines = ",\n".join(json.dumps(cell) for cell in cells)
    about = json.dumps({"command": COMMAND, "torch": torch.__version__})
    path.write_text(f'{{"about": {about}, "cells": [\n{lines}\n]}}\n', encoding="utf-8")


WRITERS = {
    "augment": write_augment,
    "decay_heat": decay_heat.record,
    "multitask": write_multitask,
    "which_one": write_which_one,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or WRITERS:
        WRITERS[name]()
