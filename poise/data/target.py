"""Decide what is being predicted, and translate it to what a loss reads and back."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.exceptions import DataConversionWarning

from poise.core.errors import ArgumentError, CheckpointError, DataError, shown
from poise.data.arguments import choice
from poise.data.frames import as_vector, first_row
from poise.data.kinds import MIXED, numbers_of

__all__ = ["Target"]

FORMAT = 1
FEW = 10  # whole numbers with more different values than this are taken for amounts, not for classes
Task = Literal["classification", "regression", "text"]  # the last of a text's characters alone


@dataclass(frozen=True, eq=False)
class Target:
    """A target and its task: class labels to codes 0 .. K-1, or numbers to mean 0 and deviation 1.

    The rule when `task` is None: text, booleans and categories are classes; numbers with decimals are amounts; whole
    numbers are classes when there are at most 2 different ones, or at most 10 that occur twice on average. `reason`
    says which applied.

    classification: code = place of the label in `classes` (sorted, own dtype), `counts` rows each.
    regression: encode(y) = (y - mean) / scale in float64, then float32; scale is the deviation, 1 if that is 0.
    text: the characters of a text, which its own encoder translates; `fit` does not return it.

    Raises: DataError naming the row for a missing, infinite or unknown value.

    >>> target = Target.fit(["no", "yes", "no", "no"])
    >>> target.encode(["yes", "no"]), target.class_weights("balanced").round(4)
    (array([1, 0]), array([0.6667, 2.    ]))
    """

    task: Task
    name: str
    reason: str
    classes: np.ndarray | None = None
    counts: np.ndarray | None = None
    mean: float = 0.0
    scale: float = 1.0

    @classmethod
    def fit(cls, y: object, task: Task | None = None, name: str = "target") -> "Target":
        """Learn the task, the classes or the scale from the target of the training rows."""
        choice("Target.task", task, (None, "classification", "regression"), "None decides by the values.")
        values = _checked(y, name)
        decided, reason = _decide(values, name)
        if task is not None:
            reason = "asked for"
        if (task or decided) == "classification":
            if task and decided == "regression":
                _refuse_decimals(values, name)
            return cls._of_classes(values, name, reason)
        return cls._of_numbers(_numbers(values, name), name, reason)

    @property
    def labels(self) -> np.ndarray:
        """The classes in order; empty for a regression."""
        return np.array([]) if self.classes is None else self.classes

    def encode(self, y: object) -> np.ndarray:
        """Return int64 codes, or float32 standardised values."""
        values = _checked(y, self.name)
        if self.classes is None:
            return np.asarray((_numbers(values, self.name) - self.mean) / self.scale, np.float32)
        codes = pd.Index(self.classes).get_indexer(pd.Index(_plain(values)))
        if (codes < 0).any():
            row = first_row(codes < 0)
            raise DataError(
                f"column {shown(self.name)}, row {row}: {shown(values.iloc[row])} is none of the {len(self.classes)} "
                f"classes seen at fit: {shown(self.classes.tolist())}. Drop the row or fit with it."
            )
        return np.asarray(codes, np.int64)

    def decode(self, encoded: object) -> np.ndarray:
        """Return the labels of codes, or the amounts (float64) of standardised values."""
        values = np.asarray(encoded)
        if self.classes is None:
            return np.asarray(values.astype(np.float64) * self.scale + self.mean)
        if values.dtype.kind not in "iu" or (values.size and not 0 <= values.min() <= values.max() < len(self.classes)):
            raise ArgumentError(f"`Target.decode` takes codes 0 .. {len(self.classes) - 1}; got {shown(values)}.")
        return np.asarray(self.classes[values])

    def class_weights(self, scheme: Literal["balanced"] | Mapping[Any, float] | None) -> np.ndarray:
        """Return one float64 weight a class: n / (K * count) for "balanced", 1 for None, a mapping's by label."""
        if self.classes is None or self.counts is None:
            raise ArgumentError("`Target.class_weights` needs classes; this target is a regression target.")
        if scheme is None:
            return np.ones(len(self.classes))
        if isinstance(scheme, Mapping):
            unknown = [label for label in scheme if label not in set(self.classes.tolist())]
            if unknown:
                raise ArgumentError(f"`class_weight` must name known classes; got {shown(unknown[0])}.")
            return np.array([float(scheme.get(label, 1.0)) for label in self.classes.tolist()])
        if scheme != "balanced":
            raise ArgumentError(f'`class_weight` must be "balanced", None or a mapping; got {shown(scheme)}.')
        return np.asarray(self.counts.sum() / (len(self.counts) * self.counts))

    def state(self) -> dict[str, Any]:
        """Return JSON values for `from_state`."""
        told = {"format": FORMAT, "task": self.task, "name": self.name, "reason": self.reason}
        if self.classes is None or self.counts is None:
            return told | {"mean": self.mean, "scale": self.scale}
        kind = "text" if self.classes.dtype.kind == "O" else self.classes.dtype.str
        return told | {"classes": self.classes.tolist(), "dtype": kind, "counts": self.counts.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Target":
        """Rebuild from `state`.

        Raises: CheckpointError for a state of another format or with parts missing.
        """
        if state.get("format") != FORMAT:
            raise CheckpointError(f"a target state must have format {FORMAT}; got {shown(state.get('format'))}.")
        try:
            task, name, reason = state["task"], state["name"], state["reason"]
            if task in ("regression", "text"):
                return cls(task, name, reason, mean=float(state["mean"]), scale=float(state["scale"]))
            kind = np.dtype(object if state["dtype"] == "text" else state["dtype"])
            classes = np.array(state["classes"], dtype=kind)
            return cls("classification", name, reason, classes, np.array(state["counts"], np.int64))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"a target state is damaged: {error!r}. Save it again.") from error

    @classmethod
    def _of_classes(cls, values: pd.Series, name: str, reason: str) -> "Target":
        plain = _plain(values)
        if plain.dtype.kind not in "OUSbiuf":
            raise DataError(f"column {shown(name)}: class labels must be text, numbers or booleans; got {plain.dtype}.")
        classes, counts = np.unique(plain, return_counts=True)
        return cls("classification", name, reason, classes, counts.astype(np.int64))

    @classmethod
    def _of_numbers(cls, values: np.ndarray, name: str, reason: str) -> "Target":
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = float(np.mean(values)), float(np.std(values))
        if not np.isfinite(mean) or not np.isfinite(scale):
            raise DataError(f"column {shown(name)}: its variance is beyond float64. Rescale or take the logarithm.")
        return cls("regression", name, reason, mean=mean, scale=scale if scale > 1e-12 * abs(mean) else 1.0)


def _checked(y: object, name: str) -> pd.Series:
    if y is None:
        raise DataError("requires y to be passed, but the target y is None. Pass the target.")
    shape = np.shape(y) if isinstance(y, np.ndarray | pd.DataFrame | list) else ()
    if len(shape) == 2 and shape[1] == 1:
        told = "A column-vector y was passed when a 1d array was expected. It is flattened; use y.ravel() to say so."
        warnings.warn(told, DataConversionWarning, stacklevel=3)
    values = as_vector(y)
    if not len(values):
        raise DataError(f"column {shown(name)}: there are 0 target values; at least 1 is required.")
    gone = values.isna().to_numpy()
    if gone.any():
        raise DataError(
            f"column {shown(name)}, row {first_row(gone)}: Input y contains NaN; {int(gone.sum())} of {len(values)} "
            "targets are missing. Drop those rows."
        )
    if pd.api.types.is_complex_dtype(values.dtype):
        raise DataError("Complex data not supported. Pass a real target.")
    if values.dtype.kind == "f" and np.isinf(values.to_numpy()).any():
        row = first_row(np.isinf(values.to_numpy()))
        raise DataError(f"column {shown(name)}, row {row}: Input y contains infinity. Replace or drop it.")
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=False) in MIXED - {"mixed-integer-float"}:
        kinds = [type(value).__name__ for value in values]
        row = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), 0)
        raise DataError(
            f"column {shown(name)}, row {row}: {shown(values.iloc[row])} makes a target of "
            f"{' and '.join(sorted(set(kinds))[:4])}. Make every label one type."
        )
    return values


def _plain(values: pd.Series) -> np.ndarray:
    """Return labels as a NumPy array of their own type: text as objects, nullable types as plain ones."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _plain(pd.Series(values.astype(dtype.categories.dtype)))
    if pd.api.types.is_bool_dtype(dtype):
        return values.to_numpy(dtype=bool)
    if not isinstance(dtype, np.dtype) and pd.api.types.is_integer_dtype(dtype):
        return values.to_numpy(dtype=np.int64)
    if not isinstance(dtype, np.dtype) and pd.api.types.is_float_dtype(dtype):
        return values.to_numpy(dtype=np.float64)
    plain = np.asarray(values.to_numpy(dtype=object) if not isinstance(dtype, np.dtype) else values.to_numpy())
    return np.asarray(pd.Series(plain).infer_objects().to_numpy()) if plain.dtype == object else plain


def _decide(values: pd.Series, name: str) -> tuple[Task, str]:
    plain = _plain(values)
    if plain.dtype.kind == "O":
        content = pd.api.types.infer_dtype(plain, skipna=False)
        if content not in ("decimal", "integer", "floating", "mixed-integer-float"):
            return "classification", "the values are text"
        plain = numbers_of(pd.Series(plain, name=name))
    if isinstance(values.dtype, pd.CategoricalDtype):
        return "classification", "the column is a category"
    if plain.dtype.kind == "b":
        return "classification", "the values are booleans"
    if plain.dtype.kind not in "iuf":
        return "classification", f"the values are {plain.dtype}"
    if plain.dtype.kind == "f" and (plain != np.floor(plain)).any():
        return "regression", "the numbers have decimals"
    different = len(np.unique(plain))
    if different <= 2 or (different <= FEW and 2 * different <= len(plain)):
        return "classification", f"whole numbers with {different} different values"
    return "regression", f"whole numbers with {different} different values"


def _refuse_decimals(values: pd.Series, name: str) -> None:
    plain = _plain(values)
    if plain.dtype.kind != "f":
        return
    decimals = plain != np.floor(plain)
    if decimals.any():
        row = first_row(decimals)
        raise DataError(
            f"column {shown(name)}, row {row}: {plain[row]} is no class (Unknown label type: continuous). "
            'Use task="regression", or turn the numbers into labels.'
        )


def _numbers(values: pd.Series, name: str) -> np.ndarray:
    try:
        numbers = numbers_of(values.rename(name))
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"column {shown(name)}, row 0: {shown(values.iloc[0])} is no number, but the task is regression. "
            'Use task="classification", or convert it.'
        ) from error
    if not np.isfinite(numbers).all():
        row = first_row(~np.isfinite(numbers))
        raise DataError(f"column {shown(name)}, row {row}: {numbers[row]} is not finite. Replace or drop it.")
    return numbers
