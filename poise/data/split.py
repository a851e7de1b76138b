"""Divide the rows into those to train on, to stop by, to choose by, and to report on."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedGroupKFold, StratifiedShuffleSplit

from poise.core.errors import ArgumentError, DataError, PoiseWarning, shown
from poise.data.arguments import choice, number, whole
from poise.data.frames import as_vector, check_lengths, first_row
from poise.data.kinds import date_format, times_of
from poise.data.target import Task

__all__ = ["Split", "pooled", "split", "split_beside"]

PARTS = ("test", "validation", "stop")  # carved off in this order, so that the test rows depend on `test` alone
BINS = 10  # of a numeric target; more bins than this no longer change the spread of a part's mean


@dataclass(frozen=True, eq=False)
class Split:
    """Row positions (int64, sorted) of four parts that share no row and cover all.

    `train`: gradients. `stop`: early stopping, pruning and best epochs inside one run. `validation`: choosing among
    runs, weights of an ensemble. `test`: looked at once, to report.
    """

    train: np.ndarray
    stop: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(
    target: object,
    *,
    task: Task,
    groups: object = None,
    time: object = None,
    seed: int = 0,
    test: float = 0.2,
    validation: float = 0.2,
    stop: float = 0.1,
) -> Split:
    """Divide rows by shares of the whole, the same way for the same seed.

    Classes keep their shares in every part (a class too small for that is pooled with the others, with one
    PoiseWarning); a numeric target keeps its deciles. `groups`: no group is in two parts; shares are then approximate.
    `time`: the latest rows are the test part, those before the validation part, then stop, then train; rows of one
    instant stay together; `seed` is not used.

    Raises: DataError with the minimum when there are too few rows, groups or instants.

    >>> parts = split([0, 1] * 50, task="classification")
    >>> len(parts.train), len(parts.stop), len(parts.validation), len(parts.test)
    (50, 10, 20, 20)
    """
    shares = {"test": test, "validation": validation, "stop": stop}
    _check(shares, task, seed)
    values = as_vector(target)
    rows = len(values)
    wanted = {part: max(1, round(share * rows)) for part, share in shares.items() if share > 0}
    least = len(wanted) + 2
    if rows < least or rows - sum(wanted.values()) < 2:
        raise DataError(
            f"`split` needs at least {least} rows, 2 to train on and 1 for each other part; got {rows} "
            f"(n_samples={rows}). Get more rows, or set a share to 0."
        )
    if groups is not None and time is not None:
        raise ArgumentError("`split` takes `groups` or `time`, not both. Use time when rows are ordered.")
    if time is not None:
        return _by_time(_times(time, rows), wanted)
    codes = _strata(values, task, len(wanted) + 1)
    if groups is not None:
        return _by_group(codes, _group_codes(groups, rows), shares, task, seed)
    return _at_random(codes, wanted, task, seed)


def split_beside(held: np.ndarray, target: object, *, task: Task, seed: int = 0) -> Split:
    """Divide the rows beside a given test part, `held` (rows,) bool: a fifth of them chooses, a tenth stops.

    >>> split_beside(np.arange(120) >= 100, [0, 1] * 60, task="classification").test.tolist() == [*range(100, 120)]
    True
    """
    rows = np.flatnonzero(~held)
    own = split(as_vector(target).iloc[rows], task=task, seed=seed, test=0.0)
    return Split(rows[own.train], rows[own.stop], rows[own.validation], np.flatnonzero(held))


def _check(shares: dict[str, float], task: str, seed: int) -> None:
    for part, share in shares.items():
        number(f"split.{part}", share, "a share in [0, 1)", 0.0, 1.0, "0.2 is a fifth of the rows.", closed=True)
    if not sum(shares.values()) < 1:
        raise ArgumentError(f"`split` must leave rows to train on; the shares sum to {sum(shares.values()):g}.")
    choice("split.task", task, ("classification", "regression"), "`Target.fit(y).task` tells which.")
    whole("split.seed", seed, 0, "The same seed gives the same parts.")


def _strata(values: pd.Series, task: str, parts: int) -> np.ndarray:
    gone = values.isna().to_numpy()
    if gone.any():
        raise DataError(f"target, row {first_row(gone)}: the value is missing. Drop the row.")
    if task == "classification":
        return np.asarray(pd.factorize(values)[0], np.int64)
    ranks = values.rank(method="average", pct=True).to_numpy()
    bins = min(BINS, max(1, len(values) // (2 * parts)))
    return np.minimum((ranks * bins).astype(np.int64), bins - 1)


def _at_random(codes: np.ndarray, wanted: dict[str, int], task: str, seed: int) -> Split:
    told: list[str] = []
    parts: dict[str, np.ndarray] = {}
    rest = np.arange(len(codes))
    for place, part in enumerate(PARTS):
        size = wanted.get(part, 0)
        if not size:
            parts[part] = np.zeros(0, np.int64)
            continue
        left = 1 + sum(later in wanted for later in PARTS[place:])  # this part, those behind it, and train
        strata, merged = pooled(codes[rest], left)
        random = _seed(seed, place)
        kinds = len(np.unique(strata))
        if kinds > 1 and kinds <= size and kinds <= len(rest) - size:
            cut = StratifiedShuffleSplit(1, test_size=size, random_state=random)
        else:
            merged = merged or len(np.unique(codes[rest])) > 1
            cut = ShuffleSplit(1, test_size=size, random_state=random)
        if merged:
            told.append(part)
        keep, taken = next(cut.split(np.zeros((len(rest), 1)), strata))
        parts[part], rest = np.sort(rest[taken]), rest[np.sort(keep)]
    if told and task == "classification":
        least = int(np.bincount(codes).min())
        warnings.warn(
            f"a class has only {least} row(s), too few for the same share in every part; "
            f"{', '.join(told)} could not be stratified fully.",
            PoiseWarning,
            stacklevel=3,
        )
    return Split(rest, parts["stop"], parts["validation"], parts["test"])


def pooled(codes: np.ndarray, parts: int) -> tuple[np.ndarray, bool]:
    """Return strata, and whether they are others than the classes: those with fewer rows than parts are one stratum, or
    with the largest class if still too few.
    """
    _, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    rare = counts < parts
    if not rare.any():
        return places, False
    pool = int(np.argmax(counts)) if counts[rare].sum() < parts else int(first_row(rare))
    return np.where(rare[places], pool, places), True


def _by_group(codes: np.ndarray, groups: np.ndarray, shares: dict[str, float], task: str, seed: int) -> Split:
    least = 1 + sum(share > 0 for share in shares.values())
    found = len(np.unique(groups))
    if found < least:
        raise DataError(f"`split` needs at least {least} groups, one a part; got {found}. Set a share to 0.")
    parts: dict[str, np.ndarray] = {}
    rest, left = np.arange(len(codes)), 1.0
    stratified = True
    for place, part in enumerate(PARTS):
        share = shares[part]
        if not share:
            parts[part] = np.zeros(0, np.int64)
            continue
        later = sum(shares[name] > 0 for name in PARTS[place + 1 :]) + 1
        own = groups[rest]
        folds = round(left / share)
        fits = folds >= 2 and abs(folds * share / left - 1) < 0.2 and len(np.unique(own)) >= folds
        if fits and np.bincount(codes[rest])[np.unique(codes[rest])].min() >= folds:
            cut = StratifiedGroupKFold(folds, shuffle=True, random_state=_seed(seed, place))
            keep, taken = next(cut.split(rest[:, None], codes[rest], own))
        else:
            taken = keep = np.zeros(0, np.int64)
        if not len(taken) or len(np.unique(own[keep])) < later:
            stratified = False
            size = min(max(1, round(share / left * len(np.unique(own)))), len(np.unique(own)) - later)
            cut = GroupShuffleSplit(1, test_size=size, random_state=_seed(seed, place))
            keep, taken = next(cut.split(rest[:, None], None, own))
        parts[part], rest = np.sort(rest[taken]), rest[np.sort(keep)]
        left -= share
    if task == "classification" and not stratified:
        told = "a class or the groups are too few for the same share of every class in every part; drawn by group only."
        warnings.warn(told, PoiseWarning, stacklevel=3)
    return Split(rest, parts["stop"], parts["validation"], parts["test"])


def _by_time(times: np.ndarray, wanted: dict[str, int]) -> Split:
    instants, places, counts = np.unique(times, return_inverse=True, return_counts=True)
    if len(instants) < len(wanted) + 1:
        least = len(wanted) + 1
        raise DataError(f"`split` needs at least {least} different times, one a part; got {len(instants)}.")
    before = np.concatenate([[0], np.cumsum(counts)])  # rows earlier than each instant
    last, parts = len(instants), dict.fromkeys(PARTS, np.zeros(0, np.int64))
    for later, (part, size) in enumerate(wanted.items()):
        aim = before[last] - size
        first = int(np.argmin(np.abs(before[:last] - aim)))
        first = min(max(first, len(wanted) - later), last - 1)  # leave an instant for each part still to come
        parts[part] = np.flatnonzero((places >= first) & (places < last))
        last = first
    return Split(np.flatnonzero(places < last), parts["stop"], parts["validation"], parts["test"])


def _times(time: object, rows: int) -> np.ndarray:
    values = as_vector(time)
    check_lengths(y=rows, time=len(values))
    if values.isna().any():
        raise DataError(
            f"time, row {first_row(values.isna().to_numpy())}: the time is missing. Fill it or drop the row."
        )
    if pd.api.types.is_string_dtype(values.dtype):
        form = date_format(values)
        try:
            times = times_of(values, form)
        except ValueError as error:
            first = shown(values.iloc[0])
            raise DataError(f"time: no one date format fits {first} and all others. Pass times or numbers.") from error
        lost = times.isna().to_numpy()
        if lost.any():
            row = first_row(lost)
            raise DataError(
                f"time, row {row}: {shown(values.iloc[row])} is no date like the others ({form}). Repair it."
            )
        values = times
    return np.asarray(values.rank(method="dense").to_numpy())


def _group_codes(groups: object, rows: int) -> np.ndarray:
    values = as_vector(groups)
    check_lengths(y=rows, groups=len(values))
    if values.isna().any():
        row = first_row(values.isna().to_numpy())
        raise DataError(f"groups, row {row}: the group is missing. Fill it or drop the row.")
    return np.asarray(pd.factorize(values)[0], np.int64)


def _seed(seed: int, place: int) -> int:
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
