"""Ensembles: the shown errors are computed anew here, and the law of averaging holds exactly."""

import itertools

import numpy as np
import pytest
import torch

from poise.lab.figures.ensemble import MANY, ROWS, EnsembleFigure, trained
from poise.lab.scene import Bars, Line, Plot


def errors_of(kind: str, seed: int) -> np.ndarray:
    """(members, places), each network asked alone, in float64."""
    found = trained(kind, seed)
    right = np.sin(3 * found.grid.double().numpy()) + 0.5 * found.grid.double().numpy()
    with torch.no_grad():
        return np.stack([network(found.grid).double().numpy() - right for network in found.networks])[..., 0]


@pytest.mark.parametrize(("kind", "k"), [("own", 25), ("own", 1), ("same", 7), ("bagging", 12), ("half", 25)])
def test_bars_and_numbers_are_the_mean_squared_errors(kind: str, k: int) -> None:
    figure = EnsembleFigure()
    frame = figure.compute(figure.checked({"members": k, "rows": kind}))
    errors = errors_of(kind, 0)[:k]
    members, together = float((errors**2).mean()), float((errors.mean(0) ** 2).mean())
    spread = float(((errors - errors.mean(0)) ** 2).mean())
    numbers = [number.value for number in frame.numbers[:3]]
    assert numbers == pytest.approx([members, together, spread], rel=1e-4, abs=1e-9)
    plot = frame.panels[1]
    assert isinstance(plot, Plot)
    assert [mark.value[0] for mark in plot.marks if isinstance(mark, Bars)] == numbers
    assert members == pytest.approx(together + spread)  # Krogh and Vedelsby's identity


def test_the_curve_is_the_mean_over_all_subsets() -> None:
    figure = EnsembleFigure()
    law = figure.compute(figure.start()).panels[2]
    assert isinstance(law, Plot)
    curve = next(mark for mark in law.marks if isinstance(mark, Line))
    errors = errors_of("own", 0)
    for k in (1, 2, 24):
        subsets = itertools.combinations(range(MANY), k)
        slow = np.mean([(errors[list(subset)].mean(0) ** 2).mean() for subset in subsets])
        assert curve.y[k - 1] == pytest.approx(slow, rel=1e-4)


def test_members_that_share_no_rows_err_apart_and_those_of_one_table_together() -> None:
    figure = EnsembleFigure()
    found = {
        kind: figure.compute(figure.checked({"rows": kind})).numbers[-1].value for kind in ("own", "bagging", "same")
    }
    assert found["own"] < 0.2 < found["bagging"] < found["same"]
    assert found["same"] > 0.9


def test_rows_are_as_the_choice_says() -> None:
    own, half, same, bagging = (trained(kind, 0).rows for kind in ("own", "half", "same", "bagging"))
    assert len(torch.unique(own)) == MANY * ROWS
    assert torch.equal(half[:, :12], half[:1, :12].expand(MANY, -1))
    assert len(torch.unique(half[:, 12:])) == MANY * 12
    assert torch.equal(same, same[:1].expand(MANY, -1))
    assert int(bagging.max()) < ROWS
