"""The figures of runs show the study's own numbers, and the code beside each prints them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from poise.diagnosis import sparsity
from poise.lab.base import Figure
from poise.lab.loss_plot import loss_plot, smoothed, thinned
from poise.lab.runs import Library
from poise.lab.runs.figures import figure_of, figures_of
from poise.lab.runs.study_folder import read_study, record_of_result
from poise.lab.scene import Bars, Dots, Frame, Intervals, Line, Parallel, Plot, Rule
from poise.study.model import load_model
from poise.study.result import StudyResult, result_from_json

NAMES = ["run-loss", "run-gap", "run-ablation", "run-strength", "run-weights", "run-population", "run-arms"]


@pytest.fixture(scope="module")
def result(two: Path) -> StudyResult:
    return result_from_json((two / "one" / "result.json").read_text())


def drawn(two: Path, name: str, **values: object) -> tuple[Figure, dict[str, object], Frame]:
    figure = figure_of(name, [read_study(two / "one", "one")])
    state = figure.checked(values)
    return figure, state, figure.compute(state)  # type: ignore[return-value]


def marks(frame: Frame, kind: type, panel: int = 0) -> list:
    plot = frame.panels[panel]
    assert isinstance(plot, Plot)
    return [mark for mark in plot.marks if isinstance(mark, kind)]


def states_of(figure: Figure) -> list[dict[str, object]]:
    """The start, each preset, and each control by itself at every value of its grid."""
    start = figure.start()
    found = [start, *(figure.checked(preset.state) for preset in figure.presets)]
    found += [start | {control.name: value} for control in figure.controls for value in control.grid()]
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("name", NAMES)
def test_every_state_is_a_message_without_nan_and_repeats(two: Path, name: str) -> None:
    figure, _, _ = drawn(two, name)
    for state in states_of(figure):
        first = json.dumps(figure.message(state, figure.compute(state)), allow_nan=False)
        assert first == json.dumps(figure.message(state, figure.compute(state)), allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_code_prints_the_numbers(two: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    figure, state, frame = drawn(two, name)
    exec(figure.code(state), {})
    printed = [float(word) for line in capsys.readouterr().out.splitlines() for word in line.split() if _number(word)]
    for number in frame.numbers:
        assert any(math.isclose(number.value, value, rel_tol=1e-12) for value in printed), number


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def test_the_line_stands_at_the_step_whose_weights_were_kept(two: Path, result: StudyResult) -> None:
    _, _, frame = drawn(two, "run-loss")
    assert len(frame.panels) == 2
    for at, curve in enumerate(result.curves):
        assert marks(frame, Rule, at)[0].x == curve.best_step
        lines = {mark.label: mark for mark in marks(frame, Line, at)}
        assert lines["training"].y == list(curve.train)
        assert lines["validation"].y == list(curve.validation)


def test_another_patience_stops_where_the_rule_says(two: Path, result: StudyResult) -> None:
    _, _, frame = drawn(two, "run-loss", patience=2)
    for at, curve in enumerate(result.curves):
        best, wait, stop = math.inf, 0, None
        for step, value in zip(curve.steps, curve.validation, strict=True):  # the rule, written out
            best, wait = (value, 0) if value < best else (best, wait + 1)
            if wait >= 2:
                stop = step
                break
        found = [rule.x for rule in marks(frame, Rule, at) if rule.label.startswith("stops")]
        assert found == ([] if stop is None else [stop])


def test_the_gap_is_the_study_s(two: Path, result: StudyResult) -> None:
    _, _, frame = drawn(two, "run-gap")
    values = {number.label: number.value for number in frame.numbers}
    assert values["gap before"] == result.before[0].gap.value
    assert values["gap after"] == result.after[0].gap.value
    over_rows = next(mark for mark in marks(frame, Intervals, 1) if mark.label == "over rows")
    assert over_rows.low == [result.before[0].gap.low, result.after[0].gap.low]


@pytest.mark.parametrize("how", ["out", "alone"])
def test_the_ends_of_the_intervals_are_the_study_s(two: Path, result: StudyResult, how: str) -> None:
    _, _, frame = drawn(two, "run-ablation", how=how)
    plot = frame.panels[0]
    assert isinstance(plot, Plot)
    labels = dict(plot.y.ticks)
    found = {}
    for mark in marks(frame, Intervals):
        for at, middle, low, high, seeds in zip(mark.at, mark.middle, mark.low, mark.high, mark.points, strict=True):
            found[labels[at]] = (middle, low, high, tuple(seeds))
    expected = {}
    for one in result.contributions:
        item, seeds = (one.leave_out, one.leave_out_seeds) if how == "out" else (one.add_in, one.add_in_seeds)
        assert item is not None
        expected[one.part] = (item.value, item.low, item.high, tuple(seeds))
    assert found == expected


def test_the_colour_of_a_part_is_its_verdict(two: Path, result: StudyResult) -> None:
    verdicts = {"helps": "helps", "hurts": "hurts"}
    _, _, frame = drawn(two, "run-ablation")
    plot = frame.panels[0]
    assert isinstance(plot, Plot)
    labels = dict(plot.y.ticks)
    found = {labels[at]: mark.label for mark in marks(frame, Intervals) for at in mark.at}
    assert found == {one.part: verdicts.get(one.verdict, "no measurable effect") for one in result.contributions}


@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.1])
def test_shares_are_the_library_s(two: Path, threshold: float) -> None:
    _, _, frame = drawn(two, "run-weights", threshold=threshold)
    stack = load_model(two / "one").single(0).stack
    weights = {name: stack.weights[name][0] for name in sorted(stack.weights)}
    layers = sparsity(weights, threshold)
    bars = {mark.label: mark for mark in marks(frame, Bars, 1)}
    assert list(bars["exactly zero"].value) == [100 * layer.zero_share for layer in layers]
    assert list(bars[f"at most {threshold:g}"].value) == [100 * layer.small_share for layer in layers]
    total = sum(layer.weights for layer in layers)
    assert [number.value for number in frame.numbers] == [
        total,
        sum(layer.zeros for layer in layers) / total,
        sum(layer.small for layer in layers) / total,
    ]


def test_a_histogram_counts_every_weight(two: Path) -> None:
    _, _, frame = drawn(two, "run-weights")
    counts = {mark.label: sum(mark.value) for mark in marks(frame, Bars)}
    assert sum(counts.values()) == frame.numbers[0].value


def test_each_swept_dial_is_drawn_with_its_interval(two: Path, result: StudyResult) -> None:
    if not result.strengths:
        pytest.skip("the study had no time for its strengths")
    chosen = {"dial": "0"} if len(result.strengths) > 1 else {}  # one dial alone needs no control
    _, _, frame = drawn(two, "run-strength", **chosen)
    one = result.strengths[0]
    line = marks(frame, Line)[0]
    assert list(line.y) == [item.value for item in one.change]
    assert marks(frame, Dots)[0].y == [0.0]


def test_the_best_networks_stand_out(two: Path, result: StudyResult) -> None:
    _, _, frame = drawn(two, "run-population", best=50)
    panel = frame.panels[0]
    assert isinstance(panel, Parallel)
    scores = [row[-1] for row in panel.values]
    finite = sorted(trial.validation for trial in result.trials if math.isfinite(trial.validation))
    assert sorted(scores) == finite
    assert sorted(scores[at] for at in panel.chosen) == finite[: len(panel.chosen)]


def test_a_huge_search_stays_light_and_keeps_its_best(result: StudyResult) -> None:
    import dataclasses

    one = result.trials[0]
    trials = [
        dataclasses.replace(one, number=at, validation=1.0 + (at * 7919 % 20_000) / 1e4, state="finished")
        for at in range(20_000)
    ]
    record = record_of_result(dataclasses.replace(result, trials=tuple(trials)))
    figure = figure_of("run-population", [record])
    for view in ("parallel", "order"):
        state = figure.checked({"view": view})
        frame = figure.compute(state)
        assert len(json.dumps(figure.message(state, frame))) < 1_500_000
        assert "are drawn" in frame.notice
        assert {number.label: number.value for number in frame.numbers}["best validation"] == 1.0


def test_every_network_of_the_search_has_its_losses(two: Path, result: StudyResult) -> None:
    _, _, frame = drawn(two, "run-population", view="losses")
    assert len(frame.panels) == len({trial.number for trial in result.trials})


def test_a_study_that_measured_less_has_fewer_figures(result: StudyResult) -> None:
    import dataclasses

    less = dataclasses.replace(result, contributions=(), strengths=(), curves=(), before=(), after=(), arms=())
    assert figures_of(record_of_result(less)) == ("run-population",)


def test_two_studies_side_by_side_show_both(two: Path) -> None:
    library = Library([two])
    ids = [line.id for line in library.runs()]
    for name in ("compare-loss", "compare-scores", "compare-recipes"):
        figure = library.figure(name, ids)
        for state in states_of(figure):
            json.dumps(figure.message(state, figure.compute(state)), allow_nan=False)
    figure = library.figure("compare-scores", ids)
    values = {number.value for number in figure.compute(figure.start()).numbers}
    for folder in ("one", "deep/two"):
        gap = result_from_json((two / folder / "result.json").read_text()).after[0]
        assert {gap.train.value, gap.test.value, gap.gap.value} <= values


# ---- the drawing of losses ----


def test_smoothing_is_the_debiased_exponential_mean() -> None:
    values = [3.0, 1.0, math.nan, 2.0, 5.0]
    weight, known = 0.7, [3.0, 1.0, 2.0, 5.0]
    expected = []
    for last in range(len(known)):
        weights = np.array([weight ** (last - at) for at in range(last + 1)])
        expected.append(float(weights @ known[: last + 1] / weights.sum()))
    found = smoothed(values, weight)
    assert math.isnan(found[2])
    assert np.allclose([found[at] for at in (0, 1, 3, 4)], expected)


def test_thinning_keeps_every_peak() -> None:
    values = [0.0] * 100_000
    values[12_345], values[77_777] = 9.0, -9.0
    kept = thinned(values)
    assert len(kept) <= 1200
    assert {12_345, 77_777, 0, 99_999} <= set(kept)


def test_the_band_of_a_smoothed_curve_holds_the_raw_extremes() -> None:
    noise = np.random.default_rng(0).normal(size=5000)
    noise[3210] = 8.0
    plot = loss_plot("x", (range(5000), noise.tolist()), ((), ()), smoothing=0.95)
    band = plot.marks[0]
    assert max(band.high) == 8.0  # type: ignore[union-attr]
    assert min(band.low) == noise.min()  # type: ignore[union-attr]


def test_what_has_no_logarithm_breaks_the_line() -> None:
    plot = loss_plot("x", ((0, 1, 2, 3), (1.0, 0.0, -1.0, 2.0)), ((), ()), log_x=True, log_y=True)
    line = plot.marks[0]
    assert line.x == [1.0, 2.0, 3.0]  # type: ignore[union-attr]
    assert [math.isnan(value) for value in line.y] == [True, True, False]  # type: ignore[union-attr]
