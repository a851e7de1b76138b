"""Small tables, made ready once, and a short training for whole studies."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest

from poise.data import Table
from poise.study.cohort import Plan
from poise.study.folds import Folds, make_folds
from poise.study.prepare import Prepared, prepare
from poise.study.table_network import Design

DESIGN = Design(width=16, depth=1)


def made_frame(rows: int = 90) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(rows, 3)), columns=["a", "b", "c"])
    frame["kind"] = draw.choice(["x", "y", "z"], rows)
    signal = frame.a + frame.b + (frame.kind == "x")
    frame["label"] = np.where(signal + draw.normal(size=rows) * 0.5 > 0.8, "yes", "no")
    frame["amount"] = 100 + 10 * (signal + draw.normal(size=rows) * 0.5)
    return frame


def made_ready(frame: pd.DataFrame, column: str, **rest: object) -> Prepared:
    table = Table("made", frame.drop(columns=["label", "amount"]), frame[[column]])
    options = {"seed": 0, "task": None, "groups": None, "time": None, "class_weight": "balanced", "design": DESIGN}
    return prepare(table, **(options | rest))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return made_frame()


@pytest.fixture(scope="session")
def ready(frame: pd.DataFrame) -> Prepared:
    """Two classes, a quarter of the rows in the smaller one."""
    return made_ready(frame, "label")


@pytest.fixture(scope="session")
def numbers(frame: pd.DataFrame) -> Prepared:
    """The same rows with a number to predict."""
    return made_ready(frame, "amount")


@pytest.fixture(scope="session")
def holes(frame: pd.DataFrame) -> pd.DataFrame:
    """A third of the labels and a quarter of the amounts are missing; of three rows both."""
    found = frame.copy()
    found.loc[frame.index[::3], "label"] = None
    found.loc[frame.index[1::4], "amount"] = np.nan
    found.loc[[0, 1, 2], ["label", "amount"]] = [None, np.nan]
    return found


@pytest.fixture(scope="session")
def make_both() -> Callable[..., Prepared]:
    """What makes a frame ready with both columns as targets."""

    def make(frame: pd.DataFrame, **rest: object) -> Prepared:
        table = Table("made", frame.drop(columns=["label", "amount"]), frame[["label", "amount"]])
        options = {"seed": 0, "task": None, "groups": None, "time": None, "class_weight": "balanced", "design": DESIGN}
        return prepare(table, **(options | rest))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def both(holes: pd.DataFrame, make_both: Callable[..., Prepared]) -> Prepared:
    """Two classes and a number to predict from the same rows, some of which lack one of them."""
    return make_both(holes)


@pytest.fixture(scope="session")
def folds(ready: Prepared) -> Folds:
    return make_folds(ready.strata, task="classification", count=3, seed=0)


@pytest.fixture(scope="session")
def plan() -> Plan:
    return Plan(steps=16, batch=16, every=4)


@pytest.fixture(scope="module")
def short() -> Iterator[None]:
    """Whole fits train for 16 steps: what is tested is what they do with the result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poise.study.fit.plan_for", lambda rows, **_: Plan(16, min(rows, 16), 4))
        yield
