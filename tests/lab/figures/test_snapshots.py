"""Snapshots: a loop in plain torch gives the same copies, and the stream ends in the figure at rest."""

import copy
import itertools
import json
import math

import pytest
import torch
from torch import nn

from poise.lab.figures.cycles import GRID, error_of, finished, rows_of_seed
from poise.lab.figures.snapshots import Snapshots
from poise.lab.patch import apply, difference


def plain_snapshots(cycles: int, rate: float, seed: int) -> list[nn.Module]:
    """The same run without the library: SGD, a rate that falls by half a cosine, and copies at the ends."""
    x, y = rows_of_seed(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    each, batches, found = 600 // cycles, torch.Generator().manual_seed(seed + 1), []
    for step in range(each * cycles):
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * (step % each) / each)) / 2
        rows = torch.randint(24, (8,), generator=batches)
        optimizer.zero_grad()
        (model(x[rows]) - y[rows]).square().mean().backward()
        optimizer.step()
        if (step + 1) % each == 0:
            found.append(copy.deepcopy(model))
    return found


@pytest.mark.parametrize("cycles", [1, 4])
def test_errors_are_those_of_a_plain_loops_copies(cycles: int) -> None:
    figure = Snapshots()
    frame = figure.compute(figure.checked({"cycles": cycles, "rate": 0.05, "seed": 1}))
    models, single = plain_snapshots(cycles, 0.05, 1), plain_snapshots(1, 0.05, 1)[0]
    with torch.no_grad():
        answers, long = torch.stack([model(GRID) for model in models]), single(GRID)
    each = [error_of(one) for one in answers]
    expected = [sum(each) / len(each), error_of(answers.mean(0)), error_of(long)]
    assert [number.value for number in frame.numbers] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_the_mean_errs_less_than_the_snapshots_do_on_average(seed: int) -> None:
    figure = Snapshots()
    each, mean, _ = (number.value for number in figure.compute(figure.checked({"seed": seed})).numbers)
    assert mean < each


def test_the_stream_grows_and_ends_in_the_figure_at_rest() -> None:
    figure = Snapshots()
    state = figure.checked({"cycles": 3})
    messages = [json.loads(json.dumps(figure.message(state, frame))) for frame in figure.stream(state)]
    assert 8 <= len(messages) <= 30
    assert messages[-1] == json.loads(json.dumps(figure.message(state, figure.compute(state))))
    for before, after in itertools.pairwise(messages):
        patch = difference(before, after)
        assert apply(before, patch) == after
        assert len(json.dumps(patch)) < 6_000


def test_snapshots_stand_at_the_ends_of_the_cycles() -> None:
    assert finished(5, 0.1, 0).ends() == [120, 240, 360, 480, 600]
    assert finished(7, 0.1, 0).ends() == [85, 170, 255, 340, 425, 510, 595]


def test_divergence_is_said_in_words() -> None:
    figure = Snapshots()
    frame = figure.compute(figure.checked({"rate": 1.0}))
    assert "broke off" in frame.notice
    assert "Lower the learning rate" in frame.notice
    assert [number.text for number in frame.numbers] == ["diverged"] * 3
