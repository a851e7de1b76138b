"""Examples for a network of your own: a torch data set, or arrays, read once into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from poise.core.errors import ArgumentError, DataError, shown

__all__ = ["Examples", "inputs_of", "read_examples"]

_READ_TWICE = 16  # rows: a transform with probability 1/2, such as a flip, is missed once in 2^16 times
_WANTED = "a map-style torch data set of (x, y), two arrays (x, y), or two data sets (train, test)"


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs in one shape, and their labels.

    Shapes: inputs (N, ...) of bool, whole or floating numbers; labels N plain values; `test` (N,) bool marks the rows
    that were given as the test part, or is None. `notes` are to be said in the report.
    """

    name: str
    inputs: np.ndarray
    labels: list[Any]
    test: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)


def read_examples(data: Any) -> Examples:
    """Return the examples of a data set of (x, y), of arrays (x, y), or of two of these: (train, test).

    x is a tensor, an array or a list of numbers, of one shape in all rows; y a class (a whole number, a text, a truth
    value) or an amount. Each item is read once, the first ones again to find random transforms.

    Raises: ArgumentError for anything else; DataError naming the row whose shape or numbers are wrong.

    >>> examples = read_examples((torch.zeros(6, 3), torch.tensor([0, 1] * 3)))
    >>> examples.inputs.shape, examples.labels
    ((6, 3), [0, 1, 0, 1, 0, 1])
    """
    if _are_arrays(data) or not isinstance(data, tuple):
        return _one(data)
    if len(data) != 2:
        raise ArgumentError(f"`Study.data` must be {_WANTED}; got {len(data)} things. Give two.")
    train, test = (_one(part) for part in data)
    if train.inputs.shape[1:] != test.inputs.shape[1:] or train.inputs.dtype != test.inputs.dtype:
        raise DataError(
            f"the training inputs are {train.inputs.shape[1:]} {train.inputs.dtype}, those of the test part "
            f"{test.inputs.shape[1:]} {test.inputs.dtype}: both must be alike."
        )
    held = np.arange(len(train) + len(test)) >= len(train)
    inputs = np.concatenate([train.inputs, test.inputs])
    return Examples(
        train.name, inputs, train.labels + test.labels, held, tuple(dict.fromkeys(train.notes + test.notes))
    )


def inputs_of(data: Any) -> np.ndarray:
    """Return the inputs (N, ...) of new data: an array or a tensor of them, a list of them, or a data set's."""
    if isinstance(data, Tensor | np.ndarray):
        found = _plain(data)
        if found.ndim < 2:
            raise DataError(f"inputs must be (N, ...), one row an example; got {found.shape}. Write x[None] for one.")
        return _finite(found)
    if isinstance(data, tuple | list):
        return _finite(_stacked([_plain(one) for one in data]))
    return _one(data).inputs


def _are_arrays(data: Any) -> bool:
    """Whether the data are (x, y) as two arrays, and not (train, test)."""
    return (
        isinstance(data, tuple)
        and len(data) == 2
        and isinstance(data[0], Tensor | np.ndarray)
        and not isinstance(data[1], tuple)
    )


def _one(data: Any) -> Examples:
    """Return the examples of one part: arrays (x, y) or a data set."""
    if _are_arrays(data):
        inputs, labels = _plain(data[0]), [_label(one) for one in data[1]]
        if inputs.ndim < 2 or len(inputs) != len(labels):
            raise ArgumentError(
                f"`Study.data` must have x (N, ...) and y (N,) of one length; got {inputs.shape} and {len(labels)} "
                "labels."
            )
        return _checked(Examples("arrays", inputs, labels))
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise ArgumentError(
            f"`Study.data` must be {_WANTED}; got {shown(data)}. A study reads rows by their number, several times."
        )
    items = [_item(data, row) for row in range(len(data))]
    if not items:
        raise DataError("the data set is empty: there is nothing to learn.")
    notes: tuple[str, ...] = ()
    inputs = _stacked([x for x, _ in items])
    again = (_item(data, row)[0] for row in range(min(_READ_TWICE, len(items))))
    if not all(np.array_equal(*pair, equal_nan=inputs.dtype.kind == "f") for pair in zip(inputs, again, strict=False)):
        notes = (
            "the data set gives another input each time it is asked for a row: every row was read once, as it came. "
            "Leave random transforms out of it: the study augments.",
        )
    return _checked(Examples(type(data).__name__, inputs, [y for _, y in items], notes=notes))


def _item(data: Any, row: int) -> tuple[np.ndarray, Any]:
    item = data[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise ArgumentError(f"`Study.data` must give pairs (x, y); row {row} is {shown(item)}. Wrap the data set.")
    return _plain(item[0]), _label(item[1])


def _plain(value: Any) -> np.ndarray:
    """Return an input as an array of numbers."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy() if value.dtype is not torch.bfloat16 else value.float().numpy()
    if not isinstance(value, np.ndarray | Sequence) or isinstance(value, str):
        raise ArgumentError(
            f"`Study.data` must have inputs that are tensors, arrays or lists of numbers; got {shown(value)}. Let the "
            "data set turn pictures into tensors: transform=ToTensor()."
        )
    found = np.asarray(value)
    if found.dtype.kind not in "biuf":
        raise ArgumentError(f"`Study.data` must have inputs of numbers; got {shown(value)}.")
    return found


def _label(value: Any) -> Any:
    """Return a label as a plain value."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        if value.ndim and value.shape != (1,):
            raise ArgumentError(
                f"`Study.data` must have one label or number a row; got one of shape {tuple(value.shape)}. A one-hot "
                "label becomes its class by argmax; several targets need a table."
            )
        return value.item()
    return value


def _stacked(inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Return inputs of one shape as one array. Raises: DataError naming the first of another shape."""
    first = inputs[0]
    for row, own in enumerate(inputs):
        if own.shape != first.shape or own.dtype != first.dtype:
            raise DataError(
                f"row {row} of the data is {own.shape} {own.dtype}, row 0 is {first.shape} {first.dtype}: all must be "
                "alike. Pad, crop or resize them in the data set."
            )
    if first.ndim == 0:
        return np.stack(inputs)[:, None]
    return np.stack(inputs)


def _finite(inputs: np.ndarray) -> np.ndarray:
    """Return the inputs. Raises: DataError naming the first row that holds no finite number."""
    if inputs.dtype.kind == "f":
        bad = ~np.isfinite(inputs).all(axis=tuple(range(1, inputs.ndim)))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(f"row {row} of the data has an input that is no finite number. Fill or drop it.")
    return inputs


def _checked(examples: Examples) -> Examples:
    _finite(examples.inputs)
    missing = pd.isna(pd.Series(examples.labels, dtype=object)).to_numpy()
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise DataError(
            f"row {row} of the data has the label {shown(examples.labels[row])}: every row needs one. Drop it."
        )
    return examples
