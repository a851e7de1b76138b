"""The page of `images.py` and `dropout_paper.py`: what was measured, arm by arm and in pairs, and one figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.dropout_paper import PAPER
from benchmarks.images_data import SETTINGS
from poise.study.figures_canvas import Drawing, Scale, whisker
from poise.study.metrics import over_seeds
from poise.study.result import Interval

__all__ = ["ARMS", "figure", "write_page"]

Record = dict[str, Any]
Records = Mapping[tuple[str, str | int], Record]

ARMS = {"none": "none", "augmentation": "augmentation alone", "found": "the found recipe"}
TITLES = {"fashion": "Fashion-MNIST", "mnist": "MNIST", "cifar": "CIFAR-10 (JPEG scans)", "digits": "digits"}
PAIRS = (("augmentation", "none"), ("found", "none"), ("found", "augmentation"))

STYLE = (
    "svg{overflow:visible}text{font:13px system-ui,sans-serif;fill:#16202a}"
    ".tick{fill:#4d5a66}.grid{stroke:#e6eaee}"
    ".band{fill:#cfd8e0}.train{fill:#0072b2}.test{fill:#c24e00}line.test{stroke:#c24e00;stroke-width:2}"
    ".strong{font-weight:650}"
)


def title_of(setting: str) -> str:
    own = SETTINGS[setting]
    twice = [one for one in SETTINGS.values() if (one.data, one.per_class) == (own.data, own.per_class)]
    return f"{TITLES[own.data]}, {own.per_class:,} images a class" + (f", {own.epochs} epochs" if twice[1:] else "")


def seeds_of(records: Records, setting: str) -> list[int]:
    return sorted(seed for name, seed in records if name == setting and isinstance(seed, int))


def settings_of(records: Records) -> list[str]:
    """Return the settings that have two seeds at least, in the order of `SETTINGS`."""
    return [name for name in SETTINGS if len(seeds_of(records, name)) > 1]


def values(records: Records, setting: str, arm: str, metric: str) -> np.ndarray:
    """Return one number a seed; the gap is train minus test of the accuracy, test minus train of the cross-entropy."""
    seeds = seeds_of(records, setting)

    def of(name: str) -> np.ndarray:
        return np.array([records[setting, seed]["scores"][arm][name] for seed in seeds])

    if metric == "accuracy_gap":
        return 100 * (of("train_accuracy") - of("test_accuracy"))
    if metric == "cross_entropy_gap":
        return of("test_cross_entropy") - of("train_cross_entropy")
    return of(metric) * (100 if metric.endswith("accuracy") else 1)


def told(found: np.ndarray, decimals: int, *, sign: bool = False) -> str:
    """Return a mean and its 95 % interval over seeds."""
    interval = over_seeds(found)
    form = f"{'+' if sign else ''}.{decimals}f"
    if interval is None:
        return format(float(np.mean(found)), form)
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]".replace("-", "−")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def scores_table(records: Records, setting: str) -> str:
    metrics = (("train_accuracy", 2), ("test_accuracy", 2), ("accuracy_gap", 2), ("test_cross_entropy", 3),
               ("cross_entropy_gap", 3))  # fmt: skip
    head = ("arm", "train accuracy, %", "test accuracy, %", "gap, points", "test cross-entropy", "its gap")
    rows = [
        (name, *(told(values(records, setting, arm, metric), decimals) for metric, decimals in metrics))
        for arm, name in ARMS.items()
    ]
    return table(head, rows)


def pairs_table(records: Records, setting: str) -> str:
    metrics = (("test_accuracy", 2), ("accuracy_gap", 2), ("test_cross_entropy", 3))
    rows = []
    for first, second in PAIRS:
        apart = [
            told(values(records, setting, first, m) - values(records, setting, second, m), d, sign=True)
            for m, d in metrics
        ]
        ours, theirs = (values(records, setting, arm, "test_accuracy") for arm in (first, second))
        rows.append(
            (
                f"{ARMS[first]} − {ARMS[second]}",
                *apart,
                f"{int((ours > theirs).sum())} of {len(seeds_of(records, setting))}",
            )
        )
    head = ("paired difference", "test accuracy, points", "gap, points", "test cross-entropy", "seeds it wins")
    return table(head, rows)


def recipe_lines(record: Record) -> str:
    """Return what the search found, and what the choice cost."""
    configs = record["configs"]
    found = ", ".join(f"{key} {value:.3g}" for key, value in configs["found"]["dials"].items())
    rates = ", ".join(f"{ARMS[arm]} {configs[arm]['lr']:g}" for arm in ("none", "augmentation"))
    score = record["validation_cross_entropy"]
    return (
        f"Found among {record['trials']} configurations in {record['search_seconds'] / 60:.1f} processor minutes, with "
        f"learning rate {configs['found']['lr']:.2g}: {found}. Learning rates of the others: {rates} "
        f"({record['rates_seconds'] / 60:.1f} minutes). Validation cross-entropy: none {min(score['none']):.3f}, "
        f"augmentation alone {min(score['augmentation']):.3f}, the found recipe {score['found']:.3f}."
    )


def section(records: Records, setting: str) -> str:
    own, seeds = records[setting, "recipe"], seeds_of(records, setting)
    first = records[setting, seeds[0]]
    seconds = np.mean([sum(records[setting, seed]["train_seconds"].values()) for seed in seeds])
    steps = own["epochs"] * (own["per_class"] * 10 // own["batch"])
    return "\n\n".join(
        [
            f"## {title_of(setting)}",
            f"{own['epochs']} epochs of batches of {own['batch']} ({steps:,} steps), {len(seeds)} seeds, "
            f"{first['test_images']:,} test images; {seconds:.0f} processor seconds for the three networks of a seed.",
            scores_table(records, setting),
            pairs_table(records, setting),
            recipe_lines(own),
        ]
    )


def figure(records: Records) -> str:
    """Return a drawing of each setting's arms: train and test accuracy, the gap as their distance."""
    settings, pitch, block = settings_of(records), 26, 132
    told_of = "; ".join(title_of(setting) for setting in settings)
    drawing = Drawing(block * len(settings) + 34, f"Train and test accuracy of three arms. {told_of}.")
    drawing.mark(0.0, 14, "train")
    drawing.text(0.0, 18, "train accuracy, %", "", shift=10)
    drawing.mark(0.25, 14, "test", shape="diamond")
    drawing.text(0.25, 18, "test accuracy, %; lines are 95 % intervals over seeds", "", shift=10)
    for place, setting in enumerate(settings):
        top = 34 + block * place
        spans: dict[str, tuple[float, Interval]] = {}
        for arm in ARMS:
            test = over_seeds(values(records, setting, arm, "test_accuracy"))
            assert test is not None  # two seeds at least
            spans[arm] = (float(values(records, setting, arm, "train_accuracy").mean()), test)
        scale = Scale.over([end for train, test in spans.values() for end in (train, test.low, test.high)], 0.26, 0.02)
        drawing.text(0, top + 14, title_of(setting), "strong")
        drawing.across(scale, top + 22, top + 26 + pitch * len(spans))
        for row, (arm, (train, test)) in enumerate(spans.items()):
            y = top + 36 + pitch * row
            drawing.box((scale.at(train), scale.at(test.value)), (y - 7, y + 7), "band")
            whisker(drawing, scale, test, y, "test")
            drawing.mark(scale.at(train), y, "train", title=f"train {train:.2f}")
            drawing.mark(scale.at(test.value), y, "test", shape="diamond", title=f"test {test.value:.2f}")
            drawing.text(0, y + 4, ARMS[arm], "")
    # Alone, without the report's page around it: its own style, and a margin that marks may reach into.
    inner = str(drawing.svg()).replace('width="100%"', 'x="16" width="760"', 1)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="792" height="{drawing.height:.0f}">'
    return f'{head}<style>{STYLE}</style><rect width="100%" height="100%" fill="#ffffff"/>{inner}</svg>\n'


def paper_section(paper: Record) -> str:
    """Return the comparison with table 9 of the dropout paper."""
    size, arms = paper["size"], paper["arms"]
    rows = []
    for arm, published in PAPER.items():
        dials, lr = paper["chosen"][arm]
        strengths = ", ".join(f"{key} {value:g}" for key, value in dials.items())
        own = np.array(arms[arm]["test_error"])
        apart = own - np.array(arms["L2"]["test_error"])
        rows.append(
            (arm, "not there" if published is None else f"{published:.2f}", told(own, 2),
             "" if arm == "L2" else told(apart, 2, sign=True), f"{np.mean(arms[arm]['train_error']):.2f}",
             f"{strengths}{', ' if strengths else ''}rate {lr:g}")
        )  # fmt: skip
    head = ("arm", "paper, test error %", "here, test error %", "here, minus L2 (paired)", "train error %", "chosen")
    return "\n\n".join(
        [
            "## The regularizers of the dropout paper, as one population",
            table(head, rows),
            order_lines(paper),
            f"Network 784-{'-'.join(map(str, size['hidden']))}-10, {size['rows']:,} training images a seed, "
            f"{size['epochs']} epochs ({paper['steps']:,} steps of {size['batch']}), {size['seeds']} seeds, 10,000 "
            f"test images. {len(paper['sweep'])} configurations were swept on another draw with {size['validation']:,} "
            f"validation images in {paper['sweep_seconds'] / 60:.1f} processor minutes; the comparison took "
            f"{paper['compare_seconds'] / 60:.1f}, all {len(arms) * size['seeds']} networks as one population.",
        ]
    )


def order_lines(paper: Record) -> str:
    """Return how far the order of the arms agrees with the paper's, by pairs and by rank correlation."""
    arms = [arm for arm, published in PAPER.items() if published is not None]
    here = {arm: np.array(paper["arms"][arm]["test_error"]) for arm in arms}
    same = sure = against = 0
    for place, worse in enumerate(arms):
        for better in arms[place + 1 :]:  # the table goes from the worst to the best
            apart = over_seeds(here[worse] - here[better])
            assert apart is not None
            same += apart.value > 0
            sure += apart.low > 0
            against += apart.high < 0
    count = len(arms) * (len(arms) - 1) // 2
    return (
        f"Of the {count} pairs of the paper's six arms, {same} stand in the paper's order here, {sure} of them with an "
        f"interval that leaves out zero; {against} stand the other way round with such an interval."
    )


def write_page(records: Records, paper: Record | None) -> str:
    """Return the measured part of the page."""
    picture = "![Train and test accuracy of the three arms](images/images_benchmark.svg)"
    parts = [picture, *(section(records, setting) for setting in settings_of(records))]
    return "\n\n".join([*parts, *([paper_section(paper)] if paper else [])]) + "\n"
