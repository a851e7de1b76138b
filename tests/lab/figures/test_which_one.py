"""The small study: stored scores computed anew in part, shown numbers those of the study's own records."""

import json

import numpy as np
import pytest
from scipy import stats

from poise.lab.figures.small_study import made_table, scores_of_seed, worth
from poise.lab.figures.which_one import CELLS, MANY, PARTS, STORE, WhichOne, stored
from poise.lab.scene import Intervals, Plot


@pytest.mark.parametrize(("cell", "seed"), [(("diabetes", "1"), 0), (("wine", "2.5"), 3), (("made", "0.3"), 7)])
def test_a_stored_seed_is_what_the_study_engine_finds(cell: tuple[str, str], seed: int) -> None:
    for label, value in scores_of_seed(*cell, seed).items():
        assert stored()[cell].scores[label][seed] == pytest.approx(value, rel=0.01), label


def test_every_cell_is_stored_with_its_parts_by_the_number_of_pairs() -> None:
    assert set(stored()) == set(CELLS)
    for found in stored().values():
        assert set(found.parts) == set(range(2, MANY + 1))
        assert all(len(values) == MANY for values in found.scores.values())
    assert json.loads(STORE.read_text())["about"]["command"] == "python tools/lab_data.py"


@pytest.mark.parametrize("seeds", [2, 5, MANY])
def test_stored_worth_is_the_studys_and_its_intervals_are_students(seeds: int) -> None:
    for cell in (("diabetes", "1"), ("wine", "1")):
        kept = stored()[cell]
        scores = {label: values[:seeds] for label, values in kept.scores.items()}
        assert kept.parts[seeds] == worth(*cell, scores)
        for part in kept.parts[seeds]:
            out = np.array(scores[f"without {part.part}"]) - np.array(scores["recipe"])
            ends = stats.t.interval(0.95, seeds - 1, out.mean(), stats.sem(out))
            assert [part.left_out.low, part.left_out.high] == pytest.approx([*ends])


def test_bars_are_the_stored_intervals_and_dots_the_pairs() -> None:
    figure = WhichOne()
    alone, left_out = figure.compute(figure.start()).panels
    for plot, field in ((alone, "alone"), (left_out, "left_out")):
        assert isinstance(plot, Plot)
        marks = [mark for mark in plot.marks if isinstance(mark, Intervals)]
        for mark, part in zip(reversed(marks), stored()["diabetes", "1"].parts[MANY], strict=True):
            interval = getattr(part, field)
            assert [mark.middle[0], mark.low[0], mark.high[0]] == [interval.value, interval.low, interval.high]
            assert list(mark.points[0]) == list(getattr(part, f"{field}_seeds"))


def test_the_claim_holds_at_rest() -> None:
    found = stored()["diabetes", "1"].parts[MANY]
    assert [part.part for part in found] == list(PARTS)
    assert all(part.alone.low > 0 for part in found)
    figure = WhichOne()
    assert "holds 0" in figure.compute(figure.start()).notice


def test_the_stream_runs_the_study_and_ends_in_the_figure_at_rest() -> None:
    figure = WhichOne()
    state = figure.checked({"seeds": 2, "table": "made"})
    frames = list(figure.stream(state))
    assert len(frames) == 3
    assert frames[0].numbers[2].text == "one pair so far"
    live, kept = ([number.value for number in frame.numbers] for frame in frames[1:])
    assert live == pytest.approx(kept, rel=0.02, abs=0.01)
    assert figure.message(state, frames[-1]) == figure.message(state, figure.compute(state))
    json.dumps(figure.message(state, frames[0]), allow_nan=False)


def test_the_made_table_is_the_same_each_time() -> None:
    assert made_table().equals(made_table())
    assert made_table().shape == (160, 21)
