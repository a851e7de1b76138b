"""The strength of each part: which values are swept, and what is said of the paired differences."""

import math

import numpy as np
import pytest

from poise.study.ablation import FULL, ablation_arms
from poise.study.result import Strength
from poise.study.space import Space
from poise.study.strengths import strength_arms, strengths

SPACE = Space(["batch_norm", "dropout", "decay", "clip_norm", "cut_mix", "patience"])
BEST = SPACE.config(5, ("batch_norm", "dropout", "decay"), {"dropout.p": 0.31, "decay.rate": 0.05}, lr=1e-3)


def scored(points: int, change: dict[str, list[float]]) -> tuple[Strength, ...]:
    """Return the curves where every arm scores 1, 2, 3 over three seeds, plus what `change` says of a label."""
    arms = ablation_arms(SPACE, BEST, add_in=False) | strength_arms(SPACE, BEST, points)
    base = np.array([1.0, 2.0, 3.0])
    return strengths(SPACE, BEST, arms, {label: base + np.array(change.get(label, [0.0] * 3)) for label in arms}, FULL)


def test_only_the_dial_at_hand_changes() -> None:
    for label, arm in strength_arms(SPACE, BEST, 5).items():
        key, value = label.split(" = ")
        assert arm.dials == BEST.dials | {key: float(value)}
        assert (arm.lr, arm.on, arm.number) == (BEST.lr, BEST.on, BEST.number)


def test_values_span_the_searched_range_evenly_on_its_own_scale() -> None:
    arms = strength_arms(SPACE, BEST, 4)
    found = {key: [a.dials[key] for label, a in arms.items() if label.startswith(key)] for key in BEST.dials}
    # The range of dropout is 0.02 to 0.6: the second of four even values, 0.2133, and the third, 0.4067, are not 0.31.
    assert found["dropout.p"] == pytest.approx([0.02, 0.2133, 0.4067, 0.6])
    # Of decay 1e-3 to 5 in log scale: factors of 17.1; 0.2924 is 0.62 of a step from 0.05, and 0.0171 0.38.
    assert found["decay.rate"] == pytest.approx([0.001, 0.0171, 0.2924, 5.0], rel=1e-3)


def test_a_value_that_is_the_chosen_one_is_not_trained_again() -> None:
    best = SPACE.config(5, ("dropout",), {"dropout.p": 0.4}, lr=1e-3)
    arms = strength_arms(SPACE, best, 4)
    assert [arm.dials["dropout.p"] for arm in arms.values()] == pytest.approx([0.02, 0.2133, 0.6])


def test_parts_that_are_off_and_parts_without_a_dial_have_no_curve() -> None:
    assert {label.split(" = ")[0] for label in strength_arms(SPACE, BEST, 3)} == {"dropout.p", "decay.rate"}
    assert strength_arms(SPACE, BEST, 0) == {}


def test_differences_are_paired_and_the_part_left_out_is_the_neutral_end() -> None:
    dropout = next(item for item in scored(4, {"without dropout": [0.5, 0.7, 0.6]}) if item.dial == "dropout.p")
    assert dropout.values == (0.0, 0.02, 0.2133, 0.31, 0.4067, 0.6)
    assert dropout.change_seeds[0] == pytest.approx((0.5, 0.7, 0.6))
    # mean 0.6, standard deviation 0.1 over 3 seeds, t = 4.303: 0.6 +- 4.303 * 0.1 / sqrt(3)
    first = dropout.change[0]
    assert (first.value, first.low, first.high) == pytest.approx((0.6, 0.3516, 0.8484), abs=1e-4)
    assert dropout.change[dropout.values.index(0.31)].value == 0.0


def test_a_neutral_value_without_end_is_no_point_of_a_curve() -> None:
    best = SPACE.config(5, ("clip_norm",), {"clip_norm.limit": 1.0}, lr=1e-3)
    arms = ablation_arms(SPACE, best, add_in=False) | strength_arms(SPACE, best, 3)
    curve = strengths(SPACE, best, arms, {label: np.arange(3.0) for label in arms}, FULL)[0]
    assert all(math.isfinite(value) for value in curve.values)


def test_values_at_which_the_networks_diverged_are_left_out() -> None:
    nan = math.nan
    dropout = next(item for item in scored(4, {"dropout.p = 0.6": [nan, nan, 1.0]}) if item.dial == "dropout.p")
    assert 0.6 not in dropout.values
    assert 0.4067 in dropout.values
