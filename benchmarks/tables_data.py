"""The twelve tables, how each one is split, and what is measured on the part held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATA", "OTHERS", "REGRESSION", "ROOT", "TWELVE", "Prediction", "Problem", "load_problem", "score"]

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

REGRESSION = (
    "student_performance", "concrete", "bike_sharing", "california_housing", "ames_housing", "abalone", "cpu_act",
)  # fmt: skip

# From the fewest rows to the most: a run that is cut short has finished as many tables as it can.
TWELVE = (
    "student_performance",
    "blood_transfusion",
    "vehicle",
    "credit_g",
    "concrete",
    "cmc",
    "car",
    "phoneme",
    "satimage",
    "bike_sharing",
    "california_housing",
    "adult",
)

OTHERS = (
    "horse_colic", "wdbc", "anneal", "qsar_biodeg", "yeast", "mfeat_factors", "ames_housing", "splice", "kr_vs_kp",
    "abalone", "spambase", "cpu_act", "electricity", "shuttle",
)  # fmt: skip
"""The tables that no page is made of: changes were tried on some of them, and they tell whether one was luck."""

TEST_SHARE = 0.2
SMALLEST_PROBABILITY = 1e-7  # a float32 softmax reaches 0, and one such row would make the whole log-loss infinite


@dataclass(frozen=True)
class Problem:
    """One table with one split; `classes` holds the sorted labels and is empty for regression."""

    table: str
    split: int
    classes: tuple[str, ...]
    train_features: pd.DataFrame
    train_target: pd.Series
    test_features: pd.DataFrame
    test_target: pd.Series

    @property
    def is_classification(self) -> bool:
        return bool(self.classes)


@dataclass(frozen=True)
class Prediction:
    """What an arm says about the test rows.

    Regression: `values` are the predicted targets, the others are None. Classification: `probabilities`
    (rows x sorted classes) are calibrated to the classes' true shares, and `values` are the labels
    that the arm itself decides on.
    """

    values: np.ndarray
    probabilities: np.ndarray | None = None


def load_problem(data: Path, table: str, split: int) -> Problem:
    """Read one table and hold out 20 % of its rows, stratified by class; `split` is the seed."""
    import pandas as pd
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    path = data / "tables" / f"{table}.parquet"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Name the folder that holds tables/ with --data.")
    frame = pd.read_parquet(path)
    features, target = frame.drop(columns="target"), frame["target"]
    if isinstance(target.dtype, pd.CategoricalDtype):
        target = target.astype(str)
        classes = tuple(sorted(target.unique()))
        splitter = StratifiedShuffleSplit(n_splits=1, test_size=TEST_SHARE, random_state=split)
    else:
        classes = ()
        splitter = ShuffleSplit(n_splits=1, test_size=TEST_SHARE, random_state=split)
    train, test = next(splitter.split(features, target))
    return Problem(
        table,
        split,
        classes,
        features.iloc[train].reset_index(drop=True),
        target.iloc[train].reset_index(drop=True),
        features.iloc[test].reset_index(drop=True),
        target.iloc[test].reset_index(drop=True),
    )


def score(problem: Problem, prediction: Prediction) -> dict[str, float]:
    """Score a prediction on the test rows; raises ValueError when it is not a usable prediction."""
    from sklearn.metrics import balanced_accuracy_score, log_loss, r2_score, root_mean_squared_error

    rows = len(problem.test_target)
    if np.shape(prediction.values) != (rows,):
        raise ValueError(f"Prediction.values must have shape ({rows},); got {np.shape(prediction.values)}.")
    truth = problem.test_target.to_numpy()
    if not problem.is_classification:
        values = np.asarray(prediction.values, dtype=np.float64)
        return {
            "rmse": float(root_mean_squared_error(truth, values)),
            "r2": float(r2_score(truth, values)),
        }
    probabilities = np.asarray(prediction.probabilities, dtype=np.float64)
    expected = (rows, len(problem.classes))
    if probabilities.shape != expected or not np.isfinite(probabilities).all():
        raise ValueError(f"Prediction.probabilities must be finite of shape {expected}; got {probabilities.shape}.")
    clipped = np.clip(probabilities, SMALLEST_PROBABILITY, None)
    clipped /= clipped.sum(axis=1, keepdims=True)
    labels = np.array(problem.classes)
    share = problem.train_target.value_counts(normalize=True).reindex(problem.classes).to_numpy()
    plain, adjusted = labels[probabilities.argmax(axis=1)], labels[(probabilities / share).argmax(axis=1)]
    decided = np.asarray(prediction.values, dtype=str)
    return {
        "balanced_accuracy": float(balanced_accuracy_score(truth, decided)),
        "balanced_accuracy_adjusted": float(balanced_accuracy_score(truth, adjusted)),
        "balanced_accuracy_plain": float(balanced_accuracy_score(truth, plain)),
        "log_loss": float(log_loss(truth, clipped, labels=labels)),
    }
