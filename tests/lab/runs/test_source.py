"""Whatever holds a run gives the same figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from poise.core.errors import ArgumentError
from poise.lab.runs.source import run_of
from poise.lab.shown import figure
from poise.study import Study

NAMES = ("loss", "gap", "ablation", "population", "arms")


@pytest.mark.parametrize("name", NAMES)
def test_a_study_its_result_and_its_folder_show_the_same(study: Study, name: str) -> None:
    frames = [figure(name, source).frame() for source in (study, study.result, study.out, str(study.out))]
    assert all(one.panels == frames[0].panels or name == "population" for one in frames)
    assert all(one.numbers == frames[0].numbers for one in frames)


def test_the_weights_of_a_study_are_those_it_saved(study: Study) -> None:
    assert figure("weights", study).frame().numbers == figure("weights", study.out).frame().numbers


def test_a_module_shows_its_weights() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    nn.init.zeros_(model[2].weight)
    numbers = {one.label: one.value for one in figure("weights", model).frame().numbers}
    assert (numbers["weights"], numbers["exactly zero"]) == (18, 6 / 18)


def test_a_study_that_was_not_run_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"study\.run"):
        run_of(Study("diabetes", budget="3trials"))


def test_a_damaged_model_is_said_in_the_figure(runs: Path) -> None:
    path = runs / "one" / "model" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    frame = figure("weights", runs / "one").frame()
    assert "sha256" in frame.notice
    assert not frame.panels
