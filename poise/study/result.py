"""What a study found, as plain frozen records: the report draws them, the JSON file stores them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from poise.core.interval import Interval

__all__ = [
    "Arm",
    "CalibrationBin",
    "Contribution",
    "Curve",
    "Gap",
    "Interval",
    "Metric",
    "Picture",
    "Score",
    "Strength",
    "StudyResult",
    "TargetFacts",
    "Together",
    "Trial",
    "result_from_json",
    "result_to_json",
]


@dataclass(frozen=True)
class Metric:
    """One measure of error: `name` is the key everywhere, `lower_is_better` its direction."""

    name: str  # "log_loss", "balanced_accuracy", "rmse", "r2"; of several targets "mean_loss" and "rmse/TARGET", ...
    label: str  # "log-loss"
    lower_is_better: bool
    primary: bool  # the metric that the search minimises


@dataclass(frozen=True)
class Gap:
    """One network's score on the three parts, and the gap: how much worse test is than train.

    The gap is signed so that positive means overfitting, whichever way the metric runs.
    Intervals come from a bootstrap over rows; `over_seeds` from retraining with other seeds.
    """

    metric: str
    train: Interval
    validation: Interval
    test: Interval
    gap: Interval
    gap_over_seeds: Interval | None
    test_over_seeds: Interval | None
    seeds: int


@dataclass(frozen=True)
class Curve:
    """Training and validation loss against the step, and the step whose weights were kept."""

    name: str  # "before" (no regularizer) or "after" (the found recipe)
    steps: tuple[int, ...]
    train: tuple[float, ...]
    validation: tuple[float, ...]
    best_step: int


@dataclass(frozen=True)
class Contribution:
    """What one part of the recipe is worth, measured by retraining with paired seeds.

    `leave_out` is score(recipe without the part) - score(recipe), `add_in` is
    score(nothing) - score(the part alone), both on validation and signed so that positive
    means that the part helped.
    """

    part: str
    leave_out: Interval
    leave_out_seeds: tuple[float, ...]
    add_in: Interval | None
    add_in_seeds: tuple[float, ...]
    verdict: str  # "helps", "hurts", "replaceable" (helps alone), "no measurable effect" or "not measured"


@dataclass(frozen=True)
class Strength:
    """How validation changes with one dial of the recipe, all else as found, retrained with paired seeds.

    `change` is score(at the value) - score(recipe), so that below 0 a value is better than the chosen one; it is 0 at
    `chosen`. A neutral value, at which the part does nothing, is among `values` where the dial has one.
    """

    dial: str  # "dropout.p"
    log: bool
    chosen: float
    values: tuple[float, ...]
    change: tuple[Interval, ...]
    change_seeds: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Trial:
    """One configuration of the search: its dials, how far it trained, how it scored."""

    number: int
    dials: dict[str, float]
    rung: int
    steps: int
    train: float
    validation: float
    state: str  # "finished", "pruned", "diverged"


@dataclass(frozen=True)
class Score:
    """One arm's score on the untouched test part, by metric name."""

    metric: str
    value: Interval


@dataclass(frozen=True)
class Arm:
    """A row of the comparison: a baseline or one of the study's own products."""

    name: str  # "unregularized network", "tuned dropout", "gradient boosting", "poise network", "poise ensemble"
    scores: tuple[Score, ...]
    seconds: float
    note: str


@dataclass(frozen=True)
class TargetFacts:
    """One of several targets: its task, its classes (none for a number), and the rows whose label is known."""

    name: str
    task: str
    classes: tuple[str, ...]
    labels: int


@dataclass(frozen=True)
class Together:
    """What learning one target together with the others was worth, on the test part, over paired seeds.

    `gain` is score(alone) - score(together) in the target's first metric, so that positive means that it helped.
    """

    target: str
    metric: Metric
    together: float
    alone: float
    gain: Interval
    gain_seeds: tuple[float, ...]
    verdict: str  # "helps", "hurts" or "no measurable effect"


@dataclass(frozen=True)
class CalibrationBin:
    """Test rows with like probabilities: the mean of their largest ones, and in which share the class was right."""

    probability: float
    right: float
    rows: int


@dataclass(frozen=True)
class Picture:
    """A training picture of a class and draws of it under the recipe, side by side: base64 of a PNG of `count`."""

    label: str
    png: str
    count: int


@dataclass(frozen=True)
class StudyResult:
    """Everything that a finished (or interrupted) study knows; see the fields' own classes."""

    table: str
    target: str  # several are joined by ", "
    task: str  # "classification", "regression" or "several targets"
    classes: tuple[str, ...]
    rows: dict[str, int]  # rows of "train", "stop", "validation", "test"
    columns: dict[str, str]  # column name -> kind found ("numeric", "category", ...)
    warnings: tuple[str, ...]
    metrics: tuple[Metric, ...]
    before: tuple[Gap, ...]  # one for each metric: the same network with no regularizer
    after: tuple[Gap, ...]  # one for each metric: the single best network under the found recipe
    contributions: tuple[Contribution, ...]
    curves: tuple[Curve, ...]
    trials: tuple[Trial, ...]
    arms: tuple[Arm, ...]
    ensemble_size: int
    finding: str  # the one paragraph that the terminal prints
    recipe_yaml: str
    receipt: str  # recipe.explain as text
    budget: str
    seconds: float
    seed: int
    interrupted: bool
    versions: dict[str, str]
    targets: tuple[TargetFacts, ...] = ()  # of a study of several targets
    together: tuple[Together, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()  # of the ensemble on the test rows: [true class][class decided]
    calibration: tuple[CalibrationBin, ...] = ()
    pictures: tuple[Picture, ...] = ()  # of a study of images
    strengths: tuple[Strength, ...] = ()  # one a searched dial of the recipe, where the budget had time for them
    structure: str = ""  # what is particular of the networks, where a look before the search chose it
    early: str = ""  # why the search ended before its time, where it did
    longer: str = ""  # that the ensemble trained longer than in the search, where that paid


def result_to_json(result: StudyResult) -> str:
    """Return the result as a JSON text that `result_from_json` reads back equal."""
    return json.dumps({"format": 1, **dataclasses.asdict(result)}, indent=1, allow_nan=True)


def result_from_json(text: str) -> StudyResult:
    """Return the result that `result_to_json` wrote."""
    values = json.loads(text)
    values.pop("format")
    result: StudyResult = _build(StudyResult, values)
    return result


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the declared types of a record; once, as a study may have 100,000 trials."""
    return get_type_hints(kind)


def _build(kind: Any, value: Any) -> Any:
    """Rebuild records, tuples and optional values from JSON's lists and objects, by declared type."""
    if dataclasses.is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]  # a class can be a key
        return kind(**{name: _build(hints[name], item) for name, item in value.items()})  # type: ignore[operator]  # a record class is callable
    arguments = get_args(kind)
    if value is None or not arguments:
        return value
    if type(None) in arguments:
        return _build(arguments[0], value)
    if isinstance(value, list):
        return tuple(_build(arguments[0], item) for item in value)
    return value
