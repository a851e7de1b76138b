"""What is stored of the multi-task figure: computed anew in part, and its intervals by SciPy."""

import json

import numpy as np
import pytest
from scipy import stats

from poise.lab.figures.multitask import CELLS, SEEDS, STORE, MultiTaskFigure, measured, stored


@pytest.mark.parametrize("cell", [(1.0, 3, 60, 3), (0.0, 1, 15, 12)])
def test_a_stored_cell_is_what_the_library_measures(cell: tuple[float, int, int, int]) -> None:
    for found, kept in zip(measured(*cell), stored()[cell], strict=True):
        assert np.mean(found) == pytest.approx(np.mean(kept), rel=0.02)
        assert np.corrcoef(found, kept)[0, 1] > 0.99  # seed by seed, not only on average


def test_every_cell_is_stored_and_says_what_wrote_it() -> None:
    assert set(stored()) == set(CELLS)
    assert all(len(errors) == SEEDS for cell in stored().values() for errors in cell)
    assert json.loads(STORE.read_text())["about"]["command"] == "python tools/lab_data.py"


@pytest.mark.parametrize("related", [0.0, 0.5, 1.0])
def test_numbers_are_the_stored_table_with_students_interval(related: float) -> None:
    figure = MultiTaskFigure()
    frame = figure.compute(figure.checked({"related": related, "labels": "120", "helpers": "1", "width": "12"}))
    alone, together = (np.array(errors) for errors in stored()[related, 1, 120, 12])
    gain = alone - together
    assert [number.value for number in frame.numbers] == [alone.mean(), together.mean(), gain.mean()]
    low, high = stats.t.interval(0.95, SEEDS - 1, gain.mean(), stats.sem(gain))
    shown = frame.numbers[2].text.split("(")[1].split(")")[0].split(" to ")
    assert [float(end) for end in shown] == pytest.approx([low, high], abs=2e-4)


def test_the_claim_holds_at_rest_and_in_a_narrow_network_only() -> None:
    figure = MultiTaskFigure()

    def verdict(**state: object) -> str:
        return figure.compute(figure.checked(state)).numbers[2].text.split(": ")[1]

    assert verdict() == "helps"
    assert verdict(related=0.0) == "hurts"
    assert verdict(related=0.0, width="12") == "helps"
