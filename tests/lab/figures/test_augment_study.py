"""What augmentations were worth on digits: computed anew in part, and the panel shows what is stored."""

import json

import numpy as np
import pytest
from scipy import stats

from poise.lab.figures.augment import Augment, augmentations
from poise.lab.figures.augment_study import SEEDS, STORE, STRENGTHS, gains, measured, stored
from poise.lab.scene import Intervals, Plot


def test_a_stored_cell_is_what_the_library_measures() -> None:
    """Seed by seed to 3 points: other kernels round otherwise, and 500 steps of training amplify it."""
    assert measured("flip", 1.0) == pytest.approx(stored()["flip", 1.0], abs=0.03)
    assert stored()["flip", 1.0] != pytest.approx(stored()[None, 0.0], abs=0.03)


def test_every_stored_technique_is_the_librarys_and_has_all_strengths() -> None:
    keys = {key for key, _ in stored() if key is not None}
    assert keys <= set(augmentations())
    assert {"flip", "affine", "crop", "cutout", "random_erasing"} <= keys
    assert set(stored()) == {(None, 0.0)} | {(key, strength) for key in keys for strength in STRENGTHS}
    assert all(len(right) == SEEDS for right in stored().values())
    assert json.loads(STORE.read_text())["about"]["command"] == "python tools/lab_data.py"


@pytest.mark.parametrize(("strength", "nearest"), [(0.0, 0.15), (0.3, 0.3), (0.6, 0.3), (0.75, 1.0)])
def test_the_panel_shows_the_gain_with_students_interval(strength: float, nearest: float) -> None:
    figure = Augment()
    plot = figure.compute(figure.checked({"strength": strength, "method": "flip"})).panels[2]
    assert isinstance(plot, Plot)
    assert f"strength {nearest:g}:" in plot.title
    assert gains(strength)[0] == nearest
    names = dict(plot.y.ticks)
    marks = {names[mark.at[0]]: mark for mark in plot.marks if isinstance(mark, Intervals)}
    gained = 100 * (np.array(stored()["flip", nearest]) - np.array(stored()[None, 0.0]))
    ends = stats.t.interval(0.95, SEEDS - 1, gained.mean(), stats.sem(gained))
    shown = marks["flip"]
    assert shown.label == "chosen"
    assert [shown.middle[0], shown.low[0], shown.high[0]] == pytest.approx([gained.mean(), *ends], rel=1e-3)


def test_techniques_stand_in_the_order_of_their_gain() -> None:
    plot = Augment().compute(Augment().start()).panels[2]
    assert isinstance(plot, Plot)
    middles = [mark.middle[0] for mark in plot.marks if isinstance(mark, Intervals)]
    assert middles == sorted(middles)


def test_mild_turning_helps_digits_and_mirroring_hurts_them() -> None:
    """What the text says."""
    found = gains(0.3)[1]
    assert found["affine"].low > 0
    assert found["flip"].high < 0
