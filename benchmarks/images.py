"""What regularization is worth on images with few labels: none, the usual augmentation, and what a search finds.

Each comparison draws N training images of each class by the seed and trains one network an arm, a member of a
population: the arms of a seed have the same images, initial weights and batches. The arms:

- none: the network alone;
- augmentation: crops and flips (digits are not flipped);
- found: the best of the configurations that a study's search tries on the training images of seed 0.

The learning rate of the first two is the best of three, that of the last is searched too; all by the same held-out
fifth of seed 0's training images, with as many epochs as the arms have. Nothing is chosen on the test images.

    python -m benchmarks.images run                        # resumable: a finished cell is skipped
    python -m benchmarks.images run --settings digits_20   # a check in seconds, without any data
    python -m benchmarks.images report --page              # prints the tables, writes docs/images_benchmark.md
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.images_data import DATA, SETTINGS, USUAL, Setting, Whole, load, subset
from poise.study.choices import IMAGE
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds, make_folds
from poise.study.image_network import ImageDesign
from poise.study.prepare import Prepared
from poise.study.prepare_images import prepare_images
from poise.study.search import Search
from poise.study.space import Config, Space

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "images.jsonl"
PAPER = RESULTS.with_name("dropout_paper.json")
PAGE = ROOT / "docs" / "images_benchmark.md"
FIGURE = ROOT / "docs" / "images" / "images_benchmark.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
RATES = (1e-3, 3e-3, 1e-2)
RECIPE = "recipe"  # in place of a seed: the cell that chooses, once a setting

Record = dict[str, Any]


def space_of(setting: Setting) -> Space:
    """Return what the search may combine: all parts for images but early stopping, for every arm trains to the end."""
    left_out = {
        "patience",
        *(() if setting.flip else ("flip",)),
        *(() if setting.data == "cifar" else ("color_jitter",)),
    }
    return Space([name for name in IMAGE.parts if name not in left_out], choices=IMAGE)


def usual(setting: Setting) -> tuple[str, ...]:
    """Return the parts of the arm with the usual augmentation."""
    return ("flip", "crop") if setting.flip else ("crop",)


def plan_of(setting: Setting, rows: int) -> Plan:
    """Return the setting's epochs over so many rows, evaluated at the end only."""
    steps = setting.epochs * (rows // setting.batch)
    return Plan(steps, setting.batch, steps)


def ready_of(setting: Setting, whole: Whole, seed: int) -> Prepared:
    """Return a seed's training images as a study prepares them."""
    images = subset(whole, setting.per_class, seed)
    return prepare_images(images, seed=seed, class_weight=None, design=ImageDesign(width=setting.width), per_class=None)


def find(setting: Setting, whole: Whole) -> Record:
    """Choose the learning rates of the plain arms, and search a recipe, on the training images of seed 0."""
    ready, space = ready_of(setting, whole, 0), space_of(setting)
    codes = ready.codes[0][ready.development]
    folds = make_folds(codes, task="classification", count=1, seed=0)
    plan = plan_of(setting, int(folds.train.shape[1]))
    began = time.process_time()
    plain: dict[str, Config] = {}
    tried: Record = {}
    for arm, on in (("none", ()), ("augmentation", usual(setting))):
        configs = [space.config(i, on, {"crop.pixels": setting.crop}, lr) for i, lr in enumerate(RATES)]
        cohort = Cohort(ready.problem, space.recipe, configs, folds, plan, seed=0, seeds=[0] * len(RATES))
        cohort.train(plan.steps)
        scores = cohort.validation()[0]
        plain[arm] = configs[int(scores.argmin())]
        tried[arm] = [round(float(score), 5) for score in scores]
    middle = time.process_time()
    search = Search(ready.problem, space, folds, plan, seed=0)
    search.run(Clock(parse_budget(f"{setting.trials}trials")), 1.0)
    best = min(search.candidates, key=lambda candidate: candidate.score)
    tried["found"] = round(best.score, 5)
    return {
        "configs": {arm: told(config) for arm, config in {**plain, "found": best.config}.items()},
        "recipe": space.recipe_of(best.config).to_yaml(),
        "validation_cross_entropy": tried,
        "trials": [[trial.number, trial.state, round(trial.validation, 5)] for trial in search.trials],
        "rates_seconds": round(middle - began, 1),
        "search_seconds": round(time.process_time() - middle, 1),
    }


def compare(setting: Setting, whole: Whole, seed: int, found: Record) -> Record:
    """Train every arm on the training images of a seed, and score it on these and on the test images."""
    ready, space = ready_of(setting, whole, seed), space_of(setting)
    rows = len(ready.problem.rows)
    everything = Folds(torch.arange(rows)[None], torch.zeros(1, rows), torch.zeros(1, rows))
    plan = plan_of(setting, rows)
    parts = {
        "train": (ready.problem.rows.inputs, ready.codes[0][ready.development]),
        "test": (torch.from_numpy(ready.encoder.transform(whole.test_pixels)), whole.test_labels),
    }
    scores: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    for arm, one in found["configs"].items():
        config = space.config(0, one["on"], one["dials"], one["lr"])
        began = time.process_time()
        # Not one population: parts that an arm leaves off would cost it their time. What is drawn is the same.
        cohort = Cohort(ready.problem, space.recipe, [config], everything, plan, seed=seed, seeds=[0])
        cohort.population.train(ready.problem.rows, plan.steps, plan.batch)
        seconds[arm] = round(time.process_time() - began, 1)
        scores[arm] = {}
        for part, (inputs, codes) in parts.items():
            outputs = cohort.population.outputs(inputs)[0].double()
            truth = torch.from_numpy(np.asarray(codes, dtype=np.int64))
            scores[arm][f"{part}_accuracy"] = round(float((outputs.argmax(-1) == truth).double().mean()), 6)
            scores[arm][f"{part}_cross_entropy"] = round(float(F.cross_entropy(outputs, truth)), 6)
    return {"scores": scores, "train_seconds": seconds, "test_images": len(whole.test_labels)}


def told(config: Config) -> Record:
    """Return a configuration as a record: the parts that are on, their dials, the learning rate."""
    own = {key: value for key, value in config.dials.items() if key.split(".")[0] in config.on}
    return {"on": list(config.on), "dials": own, "lr": config.lr}


def run(options: argparse.Namespace) -> None:
    """Run the cells that have no line yet; a cell is a setting's choice of recipes, or one seed of it."""
    torch.set_num_threads(1)
    for name in options.settings:
        setting = SETTINGS[name]
        whole: Whole | None = None
        for seed in (RECIPE, *range(options.seeds)):
            records = read_results(options.results)
            if (name, seed) in records:
                continue
            whole = whole or load(setting.data, options.data)
            began = time.process_time()
            if isinstance(seed, str):
                found = find(setting, whole)
            else:
                found = compare(setting, whole, seed, records[name, RECIPE])
            record = {"setting": name, "seed": seed, **found, **asdict(setting), "revision": revision()}
            record |= {"processor_seconds": round(time.process_time() - began, 1), "torch": torch.__version__}
            record |= {"finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            append_line(options.results, record)
            outcome = found["scores"] if "scores" in found else found["validation_cross_entropy"]
            print(time.strftime("%H:%M:%S"), name, seed, record["processor_seconds"], json.dumps(outcome), flush=True)


def report(options: argparse.Namespace) -> None:
    """Print the measured part of the page; with `--page`, write it into the page, and the figure beside it."""
    from benchmarks.images_report import figure, write_page

    records = read_results(options.results)
    paper = json.loads(PAPER.read_text(encoding="utf-8")) if PAPER.exists() else None
    text = write_page(records, paper)
    print(text)
    if options.page:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
        FIGURE.write_text(figure(records), encoding="utf-8")


def read_results(path: Path) -> dict[tuple[str, str | int], Record]:
    """Return the last line of every cell; a line that was cut off is skipped."""
    records: dict[tuple[str, str | int], Record] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            records[record["setting"], record["seed"]] = record
    return records


def append_line(path: Path, record: Record) -> None:
    """Append a line of its own, also behind one that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if torn else "") + json.dumps(record) + "\n")


def revision() -> str:
    """Return the commit that is measured."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def names(text: str) -> list[str]:
    """Return the settings of a comma-separated list."""
    found = text.split(",")
    if unknown := sorted(set(found) - set(SETTINGS)):
        raise argparse.ArgumentTypeError(f"must name some of {', '.join(SETTINGS)}; got {', '.join(unknown)}.")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "report"):
        command = commands.add_parser(name)
        command.add_argument("--results", type=Path, default=RESULTS)
    command.add_argument("--page", action="store_true", help=f"also write {PAGE.relative_to(ROOT)} and its figure")
    command = commands.choices["run"]
    command.add_argument("--settings", type=names, default=list(USUAL), help=f"some of {','.join(SETTINGS)}")
    command.add_argument("--seeds", type=int, default=5)
    command.add_argument("--data", type=Path, default=DATA, help="the folder that holds the sets")
    options = parser.parse_args()
    run(options) if options.command == "run" else report(options)


if __name__ == "__main__":
    main()
