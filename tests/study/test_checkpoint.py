"""A fit that was cut goes on from its folder, to the model that an uncut fit gives, bit for bit."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from poise import ArgumentError, CheckpointError, Classifier, Recipe, Regressor
from poise.study.checkpoint import Checkpoint, fingerprint
from poise.train import cut
from poise.train.step import step as train_step

PARTS = ("dropout", "mixup", "decay", "ema", "batch_norm")


class Killed(BaseException):
    """What ends a fit here: nothing of the package catches it."""


def table(rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(rows, 4)).astype(np.float32)
    return X, (X[:, 0] + X[:, 1] + generator.normal(size=rows) > 0).astype(int)


def classifier(folder: Any = None, **arguments: Any) -> Classifier:
    return Classifier(**({"budget": "6trials", "parts": PARTS, "width": 8, "depth": 1, "jobs": 1, "seed": 3,
                          "checkpoint": folder} | arguments))  # fmt: skip


def model_of(fitted: Classifier) -> dict[str, Any]:
    stack = fitted.model_.stack
    outcome = {"shares": fitted.model_.shares, "recipe": fitted.recipe_.spec(), "trials": fitted.fitted_.trials}
    return {**stack.weights, **stack.buffers, **outcome}


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    assert first.keys() == second.keys()
    same = {name: torch.equal(one, second[name]) if isinstance(one, torch.Tensor) else repr(one) == repr(second[name])
            for name, one in first.items()}  # fmt: skip
    return [name for name, equal in same.items() if not equal]


@pytest.fixture(scope="module")
def uncut() -> dict[str, Any]:
    return model_of(classifier().fit(*table()))


@pytest.fixture
def each(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Saves after every evaluation; `each(n)` has the fit killed after n files, `each(0)` never."""
    monkeypatch.setattr(Checkpoint, "pause", 0.0)
    own = Checkpoint.save

    def kill_after(count: int) -> None:
        written: list[str] = []

        def save(self: Checkpoint, name: str, state: Any) -> None:
            own(self, name, state)
            written.append(name)
            if len(written) == count:
                raise Killed

        monkeypatch.setattr(Checkpoint, "save", save)

    return kill_after


def test_a_checkpoint_changes_nothing(uncut: dict[str, Any], tmp_path: Path, each: Any) -> None:
    each(0)
    assert not differing(model_of(classifier(tmp_path / "kept").fit(*table())), uncut)


@pytest.mark.parametrize("every", [1, 7, 11])
def test_killed_again_and_again_it_ends_with_the_same_model(
    every: int, uncut: dict[str, Any], tmp_path: Path, each: Any
) -> None:
    folder, cuts = tmp_path / "kept", 0
    while True:
        each(every if cuts < 40 else 0)
        try:
            fitted = classifier(folder).fit(*table())
            break
        except Killed:
            cuts += 1
    assert cuts >= 4
    assert not differing(model_of(fitted), uncut)


def killed_at_step(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit until the optimizer would take its step of this number, and end there as a kill would."""
    taken = itertools.count(1)

    def step(*given: Any) -> Any:
        if next(taken) == number:
            raise Killed
        return train_step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(cut, "step", step)
        with pytest.raises(Killed):
            classifier(folder).fit(*table())


@pytest.mark.parametrize("stop", [1, 40, 95])
def test_killed_at_a_step_it_ends_with_the_same_model(
    stop: int, uncut: dict[str, Any], tmp_path: Path, each: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    each(0)
    killed_at_step(stop, tmp_path / "kept", monkeypatch)
    assert not differing(model_of(classifier(tmp_path / "kept").fit(*table())), uncut)


@pytest.mark.campaign
@pytest.mark.parametrize("stop", range(1, 201, 2))
def test_killed_at_every_other_of_200_steps_it_ends_with_the_same_model(
    stop: int, uncut: dict[str, Any], tmp_path: Path, each: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    each(0)
    killed_at_step(stop, tmp_path / "kept", monkeypatch)
    assert not differing(model_of(classifier(tmp_path / "kept").fit(*table())), uncut)


def test_a_finished_fit_is_read_back(uncut: dict[str, Any], tmp_path: Path, each: Any) -> None:
    classifier(tmp_path / "kept").fit(*table())
    each(1)  # training anything would end it
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / "kept").glob("*.pt"))
    assert names == ["bracket", "retraining"]
    assert not differing(model_of(classifier(tmp_path / "kept").fit(*table())), uncut)


def test_one_worker_goes_on_where_two_were_cut_to_the_same_model(tmp_path: Path) -> None:
    first = classifier(tmp_path / "kept", budget="20trials", jobs=2).fit(*table())
    for path in (tmp_path / "kept").glob("retraining-*.pt"):
        path.unlink()
    next((tmp_path / "kept").glob("bracket-*.pt")).unlink()
    again = classifier(tmp_path / "kept", budget="20trials", jobs=1).fit(*table())
    assert not differing(model_of(again), model_of(first))
    assert not differing(model_of(classifier(budget="20trials", jobs=1).fit(*table())), model_of(first))


@pytest.mark.parametrize(
    ("arguments", "rows", "message"),
    [
        ({"seed": 4}, 60, "another data, seed"),
        ({"budget": "7trials"}, 60, "another budget"),
        ({"parts": ("dropout",)}, 60, "another recipe"),
        ({"width": 9}, 60, "another network"),
        ({}, 59, "another data"),
        ({"class_weight": "balanced"}, 60, "another network"),
    ],
)
def test_another_fits_folder_is_refused(
    arguments: Any, rows: int, message: str, tmp_path_factory: pytest.TempPathFactory, kept: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        classifier(kept, **arguments).fit(*table(rows))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "kept"
    classifier(folder).fit(*table())
    return folder


@pytest.mark.parametrize("damage", ["fit.json", "*.pt"])
def test_a_damaged_folder_is_refused(damage: str, kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / "kept")
    file = sorted((tmp_path / "kept").glob(damage))[0]
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="is damaged"):
        classifier(tmp_path / "kept").fit(*table())


@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_a_budget_of_time_is_refused(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=rf"`{kind.__name__}\.checkpoint` must be None with a budget of time"):
        kind(budget="5s", checkpoint=str(tmp_path / "kept")).fit(*table())


def test_fingerprints_tell_values_types_and_order_apart() -> None:
    values: list[Any] = [
        1, 1.0, "1", None, True, [1], (1, 2), [[1], 2], {"a": 1}, {"a": [1]}, torch.tensor([1]), torch.tensor([1.0]),
        torch.tensor([[1]]), np.arange(3), np.arange(3)[::-1], Recipe(),
    ]  # fmt: skip
    prints = [fingerprint(value) for value in values]
    assert len(set(prints)) == len(values)
    assert fingerprint({"a": 1, "b": torch.ones(2)}) == fingerprint({"b": torch.ones(2), "a": 1})
