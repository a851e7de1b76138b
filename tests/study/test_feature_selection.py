"""Selection of features: five of fifty found exactly, none in noise, groups together, and the record by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from poise import ArgumentError, DataError, select_features
from poise.study.feature_record import FeatureSelection
from poise.study.feature_selection import _halves, _largest_of_at_most, _smallest_good


def task(rows: int = 500, features: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Of all features the first five matter: a line, two bends, two waves."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(rows, features))
    bends = 2 * np.maximum(X[:, 1], 0) + 1.5 * np.abs(X[:, 3] + 0.7)
    effects = X[:, 0] + bends + 1.5 * np.sin(X[:, 2]) + np.tanh(2 * X[:, 4])
    return X, effects + 0.5 * generator.normal(size=rows)


def noise() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    return generator.normal(size=(150, 20)), generator.normal(size=150)


QUICK = {"strengths": 12, "steps": 6, "width": 8}
SMALL = {"strengths": 14, "steps": 10, "width": 8}


@pytest.fixture(scope="module")
def found() -> FeatureSelection:
    X, y = task()
    return select_features(X, y, subsamples=10, **SMALL)


def test_stability_selection_finds_the_five_true_features_of_fifty_exactly(found: FeatureSelection) -> None:
    assert found.chosen == ("x0", "x1", "x2", "x3", "x4")
    assert found.frequencies is not None
    assert bool((found.frequencies[5:] < 0.5).all())
    assert set(found.order[:5]) == {"x0", "x1", "x2", "x3", "x4"}


def test_features_leave_as_the_strength_rises(found: FeatureSelection) -> None:
    assert list(found.strengths) == sorted(found.strengths)
    assert found.counts[0] >= 45
    assert found.counts[-1] == 0
    places = [int(np.argmin(np.abs(found.counts - count))) for count in (50, 5, 0)]  # the nearest
    assert found.scores[places[1]] < found.scores[places[0]]  # useless features cost
    assert found.scores[places[1]] < 0.7 * found.scores[places[2]]  # true ones help


def test_nothing_is_chosen_in_noise() -> None:
    assert len(select_features(*noise(), subsamples=12, **QUICK).chosen) <= 1


def test_counting_whole_paths_would_choose_noise() -> None:
    """The limit on the size of a half's set is what the bound on false features rests on."""
    assert len(select_features(*noise(), subsamples=12, false_features=1e4, **QUICK).chosen) > 1


def test_the_same_seed_gives_the_same_selection() -> None:
    X, y = task(120, 8)
    one, two, other = (select_features(X, y, subsamples=4, seed=seed, **QUICK) for seed in (1, 1, 2))
    assert np.array_equal(one.kept, two.kept)
    assert np.array_equal(one.scores, two.scores)
    assert one.frequencies is not None
    assert two.frequencies is not None
    assert np.array_equal(one.frequencies, two.frequencies)
    assert not np.array_equal(one.scores, other.scores)


def test_the_path_on_breast_cancer_needs_a_fraction_of_the_features() -> None:
    data = load_breast_cancer(as_frame=True)
    found = select_features(data.data, data.target, **SMALL)
    assert set(found.features) == set(data.feature_names)
    assert 2 <= len(found.chosen) <= 15
    place = int(np.flatnonzero(found.counts == len(found.chosen))[0])
    assert found.scores[place] <= found.scores.min() + found.margin < 0.3
    assert found.measure == "log-loss"


def test_the_columns_of_a_category_leave_together_under_its_name() -> None:
    generator = np.random.default_rng(1)
    city = generator.choice(["Rome", "Oslo", "Lima", "Pune"], 240)
    frame = pd.DataFrame({"age": generator.normal(size=240), "city": city, "noise": generator.normal(size=240)})
    y = frame["age"] + 2.0 * (city == "Rome") - 1.5 * (city == "Lima")
    found = select_features(frame, y, **SMALL)
    assert set(found.features) == {"age", "city", "noise"}
    assert found.chosen == ("age", "city")


def test_a_network_of_ones_own_is_used() -> None:
    built = []

    def build(inputs: int, outputs: int) -> nn.Module:
        built.append((inputs, outputs))
        return nn.Sequential(nn.Linear(inputs, 12), nn.Tanh(), nn.Linear(12, outputs))

    X, y = task(120, 6)
    found = select_features(X, np.where(y > np.median(y), "high", "low"), build=build, **QUICK)
    assert set(built) == {(6, 2)}
    assert found.counts[-1] == 0


class _Reversed(nn.Module):
    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first = first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.first(torch.cat([x, x], 1))
        return answer


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda inputs, outputs: _Reversed(nn.Linear(2 * inputs, outputs)), "one group for each of the 12 inputs"),
        (lambda inputs, outputs: nn.Bilinear(inputs, inputs, outputs), "first layer is linear over its inputs"),
    ],
)
def test_a_network_that_does_not_read_the_features_is_refused(build, said: str) -> None:
    X, y = task(60, 6)
    with pytest.raises(ArgumentError, match=said):
        select_features(X, y, build=build, **QUICK)


@pytest.mark.parametrize(
    "wrong",
    [
        {"strengths": 1},
        {"strengths": []},
        {"strengths": [0.1, -1.0]},
        {"hierarchy": 0.0},
        {"subsamples": -1},
        {"cutoff": 0.5},
        {"cutoff": "high"},
        {"false_features": 0.0},
        {"steps": 0},
        {"rate": float("nan")},
        {"seed": -1},
        {"width": True},
    ],
)
def test_wrong_arguments_are_refused_by_name(wrong: dict[str, object]) -> None:
    X, y = task(60, 6)
    with pytest.raises(ArgumentError, match=rf"`select_features\.{next(iter(wrong))}` must .*; got "):
        select_features(X, y, **wrong)


def test_a_target_without_a_difference_is_refused() -> None:
    X, _ = task(60, 6)
    with pytest.raises(DataError, match="the same in every row"):
        select_features(X, np.ones(60))


def test_rows_must_match() -> None:
    X, y = task(60, 6)
    with pytest.raises(DataError, match="y"):
        select_features(X, y[:50])


# --- the rules, by hand ----------------------------------------------------------------------------------------------


def test_halves_are_complementary_pairs() -> None:
    halves = _halves(11, 5, seed=3)
    assert halves.shape == (5, 5)
    for one, two in ((0, 1), (2, 3)):
        assert len({*halves[one].tolist(), *halves[two].tolist()}) == 10
    assert len({tuple(row) for row in halves.tolist()}) == 5


def test_a_half_counts_its_largest_set_before_the_path_grows_too_large() -> None:
    path = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    bent = torch.tensor([[1, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    never = torch.ones(4, 3, dtype=torch.bool)
    sets = torch.stack([path, bent, never])
    assert _largest_of_at_most(sets, 2).int().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_the_smallest_set_within_one_standard_error_is_chosen() -> None:
    sets = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    losses = torch.tensor([[1.0, 3.0], [1.5, 3.5], [4.0, 6.0]])
    chosen, margin = _smallest_good(sets, losses)  # 2, 2.5 and 5; the best's error is sqrt(2) / sqrt(2) = 1
    assert margin == pytest.approx(1.0)
    assert chosen.tolist() == [True, True, False]


def test_the_record_tells_when_features_leave() -> None:
    record = FeatureSelection(
        features=("a", "b", "c", "d"),
        strengths=np.array([1.0, 2.0, 4.0]),
        kept=np.array([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0]], dtype=bool),
        scores=np.array([0.5, 0.4, 0.6]),
        margin=0.1,
        chosen=("a", "d"),
        frequencies=None,
        cutoff=None,
        measure="log-loss",
    )
    assert record.counts.tolist() == [3, 2, 2]
    assert record.leaves == {"a": float("inf"), "b": float("inf"), "c": 1.0, "d": 4.0}
    assert record.order == ("a", "b", "d", "c")
    assert record.table(2).splitlines() == [
        "  strength  features  log-loss",
        "         1         3  0.5000",
        "         2         2  0.4000",
        "         4         2  0.6000",
        "",
        "feature  leaves at  chosen",
        "a              inf  yes",
        "b              inf",
        "and 2 more",
    ]
