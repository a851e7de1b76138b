"""The figure that trains: its stopping line against patience by hand, its best against the library's own run."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

import poise
from poise.lab.figures.stopping import EVERY, STEPS, Stopping, course
from poise.lab.samples import slopes
from poise.lab.scene import Frame, Line, Plot, Rule

FIGURE = Stopping()


def frame_of(**values: object) -> Frame:
    return FIGURE.compute(FIGURE.checked(values))


def by_hand(scores: list[float], patience: int) -> tuple[int, int]:
    """The best place and the last one."""
    best, wait = 0, 0
    for place, score in enumerate(scores):
        if place and not score < scores[best]:
            wait += 1
            if wait >= patience:
                return best, place
        else:
            best, wait = place, 0
    return best, len(scores) - 1


@pytest.mark.parametrize("patience", [1, 4, 15, 60])
@pytest.mark.parametrize("seed", [0, 1])
def test_lines_stand_where_patience_by_hand_says(patience: int, seed: int) -> None:
    frame = frame_of(patience=patience, seed=seed)
    panel = frame.panels[0]
    assert isinstance(panel, Plot)
    valid = next(mark for mark in panel.marks if isinstance(mark, Line) and mark.label == "validation")
    best, last = by_hand(list(valid.y), patience)
    best_step, stop_step, at_stop, back = (number.value for number in frame.numbers)
    assert best_step == EVERY * (best + 1)
    assert stop_step == EVERY * (last + 1)
    assert at_stop == valid.y[last]
    assert back == pytest.approx(valid.y[best], rel=1e-6)
    places = [mark.x for mark in panel.marks if isinstance(mark, Rule)]
    assert places == [best_step, stop_step][: 1 if last == len(valid.y) - 1 else 2]


def test_the_weights_given_back_are_the_librarys() -> None:
    """The library's own run, with its own stop, ends at the same step with the same network."""
    train, valid = slopes(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    run = poise.Recipe(poise.Decay(0.5), poise.Patience(6)).start(model, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    order = torch.Generator().manual_seed(1)
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(train), (8,), generator=order)
        run.objective(torch.square(model(train.inputs[rows]) - train.targets[rows]).mean()).backward()
        run.update(optimizer)
        if step % EVERY == 0:
            with run.evaluation(), torch.no_grad():
                score = float(torch.square(model(valid.inputs) - valid.targets).mean())
            if run.stop(score):
                break
    frame = frame_of(seed=1, width=16, decay=0.5, patience=6)
    best_step, stop_step, _, back = (number.value for number in frame.numbers)
    assert stop_step == step
    best = run.predictor()
    with torch.no_grad():
        assert back == float(torch.square(best(valid.inputs) - valid.targets).mean())
    kept = course(1, 16, 0.5).networks[int(best_step) // EVERY - 1]
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), best.parameters(), strict=True))


def test_the_stream_grows_and_ends_at_the_frame_of_the_state() -> None:
    state = FIGURE.checked({"seed": 2, "width": 8})
    frames = list(FIGURE.stream(state))
    lengths = []
    for frame in frames:
        panel = frame.panels[0]
        assert isinstance(panel, Plot)
        lengths.append(max(len(mark.x) for mark in panel.marks if isinstance(mark, Line)))
        assert (panel.x.low, panel.x.high) == (0, STEPS)
    assert lengths == sorted(lengths)
    assert lengths[-1] == STEPS // EVERY
    assert len(frames) > 20
    whole = FIGURE.compute(state)
    assert json.dumps(FIGURE.message(state, frames[-1])) == json.dumps(FIGURE.message(state, whole))


def test_frames_of_a_stream_do_not_change_afterwards() -> None:
    state = FIGURE.checked({"width": 4})
    stream = FIGURE.stream(state)
    first = next(stream)
    before = json.dumps(FIGURE.message(state, first))
    next(stream)
    assert json.dumps(FIGURE.message(state, first)) == before


@pytest.mark.parametrize("seed", range(5))
def test_the_claim_holds_on_every_sample(seed: int) -> None:
    found = course(seed, 64, 0.0)
    lowest = min(found.valid)
    turn = found.valid.index(lowest)
    assert turn < len(found.valid) / 2
    assert found.train[-1] < found.train[turn] / 3
    assert found.valid[-1] > 1.15 * lowest


def test_patience_does_not_train_anew() -> None:
    frame_of(seed=3, width=4)
    hits = course.cache_info().misses
    frame_of(seed=3, width=4, patience=3, log=True)
    assert course.cache_info().misses == hits


def test_impatience_and_a_run_without_a_stop_are_explained() -> None:
    seeds = [seed for seed in range(6) if "Too impatient" in frame_of(seed=seed, patience=1).notice]
    assert seeds
    for seed in seeds:
        assert min(course(seed, 64, 0.0).valid) < frame_of(seed=seed, patience=1).numbers[3].value
    assert "never ran out" in frame_of(width=2, patience=60).notice


def test_the_sentence_says_stops_only_where_patience_has_run_out() -> None:
    def sentence(frame: Frame, **values: object) -> str:
        return FIGURE.describe(FIGURE.checked(values), frame)

    assert "15 evaluations stops training at step 132 " in sentence(frame_of())
    assert "1 evaluation stops training" in sentence(frame_of(patience=1), patience=1)
    assert "has not run out by step 400," in sentence(frame_of(width=2, patience=60), width=2, patience=60)
    first = next(FIGURE.stream(FIGURE.checked({"patience": 1})))
    assert "1 evaluation has not run out by step 12," in sentence(first, patience=1)


def test_a_log_axis_changes_the_axis_only() -> None:
    plain, log = frame_of(), frame_of(log=True)
    assert plain.numbers == log.numbers
    assert isinstance(log.panels[0], Plot)
    assert log.panels[0].y.log
    assert dataclasses.asdict(plain.panels[0])["marks"] == dataclasses.asdict(log.panels[0])["marks"]


def test_decay_holds_the_curves_together() -> None:
    def gap(decay: float) -> float:
        found = course(0, 64, decay)
        return found.valid[-1] - found.train[-1]

    gaps = [gap(decay) for decay in (0.0, 1.0, 3.0)]
    assert gaps == sorted(gaps, reverse=True)
    assert all(math.isfinite(value) for value in gaps)
