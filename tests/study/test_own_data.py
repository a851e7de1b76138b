"""Examples of your own: every form that they may come in gives the same arrays, and what is wrong is named by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from poise.core.errors import ArgumentError, DataError
from poise.study.own_data import inputs_of, read_examples

X = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
Y = [0, 1, 2, 0, 1, 2]


class Items(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        return self.items[row]


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (torch.from_numpy(X), torch.tensor(Y)),
        TensorDataset(torch.from_numpy(X), torch.tensor(Y)),
        Items([(x.tolist(), np.int64(y)) for x, y in zip(X, Y, strict=True)]),
        list(zip(X, Y, strict=True)),
    ],
    ids=["arrays", "tensors", "data set", "lists of numbers", "list of pairs"],
)
def test_every_form_gives_the_same_examples(data: Any) -> None:
    examples = read_examples(data)
    np.testing.assert_allclose(examples.inputs, X, rtol=1e-7)
    assert examples.labels == Y
    assert examples.test is None
    assert examples.notes == ()


def test_new_inputs_come_alone_or_in_a_data_set() -> None:
    for data in (X, torch.from_numpy(X), list(X), TensorDataset(torch.from_numpy(X), torch.tensor(Y))):
        np.testing.assert_array_equal(inputs_of(data), X)
    with pytest.raises(DataError, match=r"inputs must be \(N, ...\), one row an example; got \(6,\)"):
        inputs_of(X[:, 0, 0])


def test_new_inputs_that_are_not_finite_are_named_by_row() -> None:
    holed = X.copy()
    holed[4, 0, 0] = np.nan
    for data in (holed, torch.from_numpy(holed), list(holed)):
        with pytest.raises(DataError, match=r"row 4 of the data has an input that is no finite number"):
            inputs_of(data)
    assert inputs_of(X[:0]).shape == (0, 2, 3)


def test_two_data_sets_are_a_training_and_a_test_part() -> None:
    train, test = TensorDataset(torch.from_numpy(X[:4]), torch.tensor(Y[:4])), (X[4:], Y[4:])
    examples = read_examples((train, test))
    np.testing.assert_array_equal(examples.inputs, X)
    assert examples.labels == Y
    assert examples.test is not None
    assert examples.test.tolist() == [False] * 4 + [True] * 2
    with pytest.raises(DataError, match=r"both must be alike"):
        read_examples((train, (X[4:, :1], Y[4:])))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (Items([(X[0], 0), (X[0, :1], 1)]), DataError, r"row 1 of the data is \(1, 3\) float32, row 0 is \(2, 3\)"),
        (Items([(X[0], 0), X[0]]), ArgumentError, r"must give pairs \(x, y\); row 1"),
        (Items([(X[0], 0), ("ab", 1)]), ArgumentError, r"tensors, arrays or lists of numbers; got 'ab'"),
        (Items([(X[0], np.eye(3)[0])]), ArgumentError, r"one label or number a row; got one of shape \(3,\)"),
        (Items([(X[0], 0), (X[1], None)]), DataError, r"row 1 of the data has the label None"),
        (Items([]), DataError, r"the data set is empty"),
        ((X * np.inf, Y), DataError, r"row 0 of the data has an input that is no finite number"),
        ((X, Y[:5]), ArgumentError, r"of one length; got \(6, 2, 3\) and 5"),
        ((X[:, 0, 0], Y), ArgumentError, r"must have x \(N, ...\)"),
        ((X, Y, Y), ArgumentError, r"got 3 things"),
        (7, ArgumentError, r"must be a map-style torch data set"),
    ],
)
def test_what_is_wrong_is_named(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_examples(data)


def test_data_that_come_in_a_stream_are_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(zip(X, Y, strict=True))

    with pytest.raises(ArgumentError, match=r"reads rows by their number"):
        read_examples(Stream())


def test_random_transforms_are_told_of() -> None:
    draw = np.random.default_rng(1)

    class Noisy(Items):
        def __getitem__(self, row: int) -> Any:
            return X[row] + draw.normal(size=(2, 3)).astype(np.float32), Y[row]

    class LastFlips(Items):
        def __getitem__(self, row: int) -> Any:
            draws.append(row)
            return X[row] * (-1) ** (row == 5 and draws.count(5) > 1), Y[row]

    draws: list[int] = []
    assert "gives another input each time" in read_examples(Noisy(Y)).notes[0]
    assert "gives another input each time" in read_examples(LastFlips(Y)).notes[0]
