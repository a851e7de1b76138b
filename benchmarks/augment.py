"""Augmentation of a batch, per operation and for usual recipes, against libraries that draw for each sample.

    python benchmarks/augment.py                 # measures all, stores results/augment.json cell by cell
    python benchmarks/augment.py --missing       # only what is not stored yet: goes on after an interruption
    python benchmarks/augment.py --threads 2 --only flip cutout
    python benchmarks/augment.py --show          # prints the tables of what is stored
    python benchmarks/augment.py --page          # writes them into docs/augmentation.md

Each arm in turn within each round; medians of the rounds, as multiples of a clone of the same batch in bytes. One
thread is measured by processor time, two by the wall. Needs kornia, albumentations 2.0.x and timm
(`requirements.txt`), and torchvision if it is to be an arm; arms that cannot be imported are left out, and said.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import torch

from augment_arms import RECIPES, Arm, arms_of
from poise.kernels import available
from poise.train.memory import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "augment.json"
PAGE = Path(__file__).parents[1] / "docs" / "augmentation.md"
BEGIN, END = "<!-- benchmarks/augment.py --page -->", "<!-- end -->"
SIZES = {"128 x 3 x 32 x 32": (128, 32), "32 x 3 x 224 x 224": (32, 224)}
THREADS = (1, 2)
ROUNDS = 7
ROWS = "albumentations, rows"  # a list of arrays, those that no draw touched being the ones given
LEAST_SECONDS = 0.01  # of one arm in one round


def seconds(arm: Arm, clock: Callable[[], float], calls: int) -> float:
    start = clock()
    for _ in range(calls):
        arm()
    return (clock() - start) / calls


def measured(arms: dict[str, Arm], clock: Callable[[], float]) -> dict[str, float]:
    """Return each arm's time, the median of its rounds, as a multiple of the first arm's."""
    calls = {}
    for name, arm in arms.items():
        arm()
        calls[name] = max(1, min(2000, int(LEAST_SECONDS / max(seconds(arm, time.perf_counter, 1), 1e-6))))
    rounds = [{name: seconds(arm, clock, calls[name]) for name, arm in arms.items()} for _ in range(ROUNDS)]
    found = {name: statistics.median(one[name] for one in rounds) for name in arms}
    clone = next(iter(found.values()))
    return {name: time / clone for name, time in found.items()} | {"clone us": clone * 1e6}


def threads_of_peers(count: int) -> None:
    torch.set_num_threads(count)
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(count)


def run(chosen: list[int], only: list[str], missing: bool) -> None:
    """Measure and store cell by cell; what was stored of other threads and operations stays."""
    keep_freed_memory()  # for every arm: large blocks are not cleared anew
    torch.manual_seed(0)
    stored: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    cells: dict[str, dict[str, dict[str, dict[str, float]]]] = stored.setdefault("cells", {})
    failures: dict[str, str] = stored.setdefault("failures", {})
    stored |= {"native": available(), "torch": torch.__version__, "versions": versions()}
    stored |= {"processor": platform.processor() or platform.machine()}
    for label, (rows, size) in SIZES.items():
        smooth = torch.nn.functional.interpolate(torch.rand(rows, 3, 8, 8), (size, size), mode="bilinear")
        images, targets = (smooth * 255).round().to(torch.uint8), torch.eye(10)[torch.arange(rows) % 10]
        arms = arms_of(images, targets, failures)
        for threads in chosen:
            threads_of_peers(threads)
            clock = time.process_time if threads == 1 else time.perf_counter
            done = cells.setdefault(label, {}).setdefault(str(threads), {})
            for old in [name for name in done if name not in RECIPES]:
                del done[old]
            for operation in only or RECIPES:
                if missing and operation in done:
                    continue
                own = {name: one[operation] for name, one in arms.items() if operation in one}
                for name in list(own):
                    failures.pop(f"{name}, {operation}", None)
                    try:
                        own[name]()
                    except Exception as problem:  # noqa: BLE001 - a peer that fails is named
                        failures[f"{name}, {operation}"] = f"{type(problem).__name__}: {problem}"
                        del own[name]
                done[operation] = cell = measured({"clone": images.clone, **own}, clock)
                written = RESULTS.with_suffix(".part")
                written.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
                written.replace(RESULTS)
                print(label, threads, operation, {name: round(value, 1) for name, value in cell.items()}, flush=True)


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("kornia", "albumentations", "torchvision", "timm", "opencv-python-headless"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def tables(stored: dict[str, Any]) -> str:
    """Return the tables in Markdown, and each cell that poise loses."""
    lines, behind, rows_behind = [], [], []
    columns = [
        "poise", "poise float32", "kornia float32", "albumentations", "albumentations, rows", "torchvision",
        "timm float32",
    ]  # fmt: skip
    for label, by_threads in stored["cells"].items():
        for threads, operations in sorted(by_threads.items()):
            cells = {name: operations[name] for name in RECIPES if name in operations}
            known = [column for column in columns if any(column in cell for cell in cells.values())]
            clone = statistics.median(cell["clone us"] for cell in cells.values())
            clock = "processor time" if threads == "1" else "wall time"
            title = f"**{label}, {threads} thread{'s' * (threads != '1')}**"
            head = " | ".join(["operation", *known, "best peer / poise"])
            lines += [f"{title} ({clock}, medians, as multiples of a clone, {clone:.0f} us)", ""]
            lines += [f"| {head} |", "|---|" + "---:|" * (len(known) + 1)]
            for name, cell in cells.items():
                peers = [cell[column] for column in known if column in cell and _gives_batch(column)]
                shown = [
                    (f"{cell[column]:,.0f}" if cell[column] >= 10 else f"{cell[column]:.1f}") if column in cell else ""
                    for column in known
                ]
                ratio = min(peers) / cell["poise"] if peers else None
                lines.append(f"| {name} | " + " | ".join(shown) + f" | {'' if ratio is None else f'{ratio:.1f}'} |")
                if ratio is not None and ratio < 1:
                    behind.append(f"{name} ({label}, {threads}): {ratio:.2f}")
                if (rows := cell.get(ROWS, math.inf) / cell["poise"]) < 1:
                    rows_behind.append(f"{name} ({label}, {threads}): {rows:.2f}")
            lines.append("")
    used = ", ".join(f"{name} {number}" for name, number in {"torch": stored["torch"], **stored["versions"]}.items())
    lines += ["Cells in which a peer is ahead: " + ("; ".join(behind) or "none") + ".", ""]
    lines += ["Cells in which rows that nobody stacks are ahead: " + ("; ".join(rows_behind) or "none") + ".", ""]
    lines += [f"Versions: {used}."]
    if lacking := [name for name in columns if name in stored["failures"]]:
        lines += ["", "Not importable, and so no arm: " + ", ".join(lacking) + "."]
    return "\n".join(lines)


def _gives_batch(column: str) -> bool:
    return not column.startswith("poise") and column != ROWS


def write_page(found: str) -> None:
    """Put the tables between the two marks of the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END, 1)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the tables of what is stored")
    parser.add_argument("--page", action="store_true", help="write them into docs/augmentation.md")
    parser.add_argument("--missing", action="store_true", help="measure only what is not stored yet")
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS), choices=THREADS)
    parser.add_argument(
        "--only", nargs="+", default=[], choices=list(RECIPES), metavar="OPERATION", help="these; all if left out"
    )
    arguments = parser.parse_args()
    if not (arguments.page or arguments.show):
        run(arguments.threads, arguments.only, arguments.missing)
    found = tables(json.loads(RESULTS.read_text(encoding="utf-8")))
    if arguments.page:
        write_page(found)
    else:
        print(found)


if __name__ == "__main__":
    main()
