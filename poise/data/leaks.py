"""Find single columns that give the target away."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

__all__ = ["NEARLY_ALL", "find_leaks"]

NEARLY_ALL = 0.98  # balanced accuracy or R^2 of one column alone; on 26 public tables no honest column reaches it
FOLDS = 3
BINS = 64
TRIED = 24  # columns that pass the quick look and are cross-validated
LEAST = 30  # rows; below, one column predicts a target by chance


def find_leaks(columns: Mapping[str, pd.Series], target: np.ndarray, task: str) -> dict[str, str]:
    """Return, by name, why a column is suspect: alone, or by where it is missing, it predicts the target.

    A quick look ranks the columns by how pure their quantile bins or levels are; the best are scored on held-out rows,
    numbers by a shallow tree, levels by the commonest class (or mean) of each. `columns` hold numbers (float64, NaN
    where missing) or level codes (int64, -1 where missing); `target` class codes or float64 numbers.
    """
    classes = task == "classification"
    kept = np.ones(len(target), bool)
    if classes:
        _, target, counts = np.unique(target, return_inverse=True, return_counts=True)
        kept = counts[target] >= 2 * FOLDS  # a class this small cannot be held out
    found = target[kept]
    if len(found) < LEAST or len(np.unique(found)) < 2:
        return {}
    if classes:
        found = np.unique(found, return_inverse=True)[1]
    codes: dict[tuple[str, str], np.ndarray] = {}
    for name, column in columns.items():
        values = column.to_numpy()[kept]
        codes[name, "its values predict"] = values
        gone = np.isnan(values) if values.dtype.kind == "f" else values < 0
        if 0 < gone.sum() < len(gone):
            codes[name, "where it is missing predicts"] = gone.astype(np.int64)
    quick = {key: _purity(_bins(values), found, classes) for key, values in codes.items()}
    best = sorted((key for key in quick if quick[key] > NEARLY_ALL - 0.1), key=lambda key: -quick[key])[:TRIED]
    told: dict[str, str] = {}
    for name, how in best:
        score = _score(codes[name, how], found, classes)
        if score >= NEARLY_ALL and name not in told:
            measure = "balanced accuracy" if classes else "R^2"
            told[name] = f"{how} the target alone ({measure} {score:.3f} on held-out rows)"
    return told


def _bins(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f":
        return np.asarray(values - values.min())
    filled = np.where(np.isnan(values), -np.inf, values)
    different = np.unique(filled)
    if len(different) <= BINS:
        return np.asarray(np.searchsorted(different, filled))
    edges = np.unique(np.quantile(values[~np.isnan(values)], np.linspace(0, 1, BINS)[1:-1]))
    return np.asarray(np.searchsorted(edges, filled, side="right"))


def _purity(bins: np.ndarray, target: np.ndarray, classes: bool) -> float:
    """Return the balanced accuracy, or R^2, of the best constant of each bin, on the rows it was chosen on."""
    if classes:
        kinds = int(target.max()) + 1
        weights = 1 / np.bincount(target)[target]
        sums = np.bincount(bins * kinds + target, weights=weights, minlength=(int(bins.max()) + 1) * kinds)
        return float(sums.reshape(-1, kinds).max(axis=1).sum() / kinds)
    counts = np.bincount(bins)
    means = np.bincount(bins, weights=target) / np.maximum(counts, 1)
    spread = float(np.var(target))
    return 1.0 - float(np.mean((target - means[bins]) ** 2)) / spread if spread > 0 else 0.0


def _score(values: np.ndarray, target: np.ndarray, classes: bool) -> float:
    guesses = np.empty(len(target), target.dtype)
    folds = StratifiedKFold if classes else KFold
    for fit, test in folds(FOLDS, shuffle=True, random_state=0).split(values[:, None], target):
        if values.dtype.kind == "f":
            filled = np.where(np.isnan(values), np.nanmin(values) - 1, values)[:, None]
            if classes:
                leaves = min(2 * (int(target.max()) + 1), BINS)
                tree = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=0)
            else:
                tree = DecisionTreeRegressor(max_leaf_nodes=BINS, random_state=0)
            guesses[test] = tree.fit(filled[fit], target[fit]).predict(filled[test])
        else:
            guesses[test] = _by_level(values[fit], target[fit], values[test], classes)
    return float(balanced_accuracy_score(target, guesses) if classes else r2_score(target, guesses))


def _by_level(fit: np.ndarray, target: np.ndarray, test: np.ndarray, classes: bool) -> np.ndarray:
    table = pd.DataFrame({"level": fit, "target": target})
    if not classes:
        means = table.groupby("level")["target"].mean()
        return np.asarray(pd.Series(test).map(means).fillna(float(target.mean())))
    weights = 1 / np.bincount(target)
    sums = table.groupby(["level", "target"]).size().unstack(fill_value=0)
    best = (sums * weights[sums.columns]).idxmax(axis=1)
    return np.asarray(pd.Series(test).map(best).fillna(0).astype(np.int64))
