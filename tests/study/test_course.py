"""The course of a study: what is noted comes back, the lock tells who lives, and nothing in it can end a study."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from poise.study.course import CAP, COURSE, Course, read_course


def test_a_course_keeps_the_losses_of_every_configuration_in_order(tmp_path: Path) -> None:
    course = Course(tmp_path / COURSE)
    course.begin({"table": "t"})
    course.losses([5, 6], [0, 0, 1, 1], 10, torch.tensor([1.0, 3.0, 4.0, 4.0]), torch.tensor([2.0, 2.0, math.nan, 1.0]))
    course.losses([6], [0, 0], 20, torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.5]))
    course.close()
    five, six = read_course(tmp_path / COURSE).losses
    assert (five.number, five.steps, five.train, five.validation) == (5, (10,), (2.0,), (2.0,))
    assert (six.steps, six.train) == ((10, 20), (4.0, 1.0))
    assert math.isnan(six.validation[0])
    assert six.validation[1] == 0.5


def test_a_course_is_held_while_it_is_open(tmp_path: Path) -> None:
    course = Course(tmp_path / COURSE)
    course.begin({})
    assert read_course(tmp_path / COURSE).runs
    course.close()
    assert not read_course(tmp_path / COURSE).runs


def test_lines_that_are_cut_or_foreign_are_passed_over(tmp_path: Path) -> None:
    course = Course(tmp_path / COURSE)
    course.begin({"table": "t"})
    with open(tmp_path / COURSE, "a") as file:
        file.write('\n[]\nnull\n{"kind": "losses"}\n{"kind": "phase", "message": "half", "share": 0.5}\n{"kind": "los')
    seen = read_course(tmp_path / COURSE)
    course.close()
    assert (seen.phase, seen.share, seen.facts["table"], seen.losses) == ("half", 0.5, "t", ())


def test_a_course_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    course = Course(tmp_path / "missing" / COURSE)
    course.begin({})
    course.phase("x", None, 0.0)
    course.close()


def test_many_notes_of_one_phase_are_few_lines(tmp_path: Path) -> None:
    course = Course(tmp_path / COURSE)
    course.begin({})
    for _ in range(100):
        course.phase("searching", 0.5, 0.1)
    course.close()
    lines = [json.loads(line)["kind"] for line in (tmp_path / COURSE).read_text().splitlines()]
    assert lines == ["study", "phase"]


def test_a_course_that_is_full_notes_phases_only(tmp_path: Path) -> None:
    course = Course(tmp_path / COURSE)
    course.begin({})
    with open(tmp_path / COURSE, "a") as file:
        file.write("x" * (CAP // 2) + "\n")
        file.write("x" * (CAP // 2) + "\n")
    course.losses([1], [0], 4, torch.tensor([1.0]), torch.tensor([1.0]))
    course.phase("ablation", None, 0.8)
    course.close()
    seen = read_course(tmp_path / COURSE)
    assert (seen.phase, seen.losses) == ("ablation", ())


def test_workers_write_into_the_same_file_and_hold_no_lock(tmp_path: Path) -> None:
    import pickle

    course = Course(tmp_path / COURSE)
    course.begin({})
    worker: Course = pickle.loads(pickle.dumps(course))
    worker.losses([3], [0], 4, torch.tensor([1.0]), torch.tensor([2.0]))
    worker.close()
    assert read_course(tmp_path / COURSE).runs, "a worker's end let go of the study's lock"
    course.close()
    assert read_course(tmp_path / COURSE).losses[0].validation == (2.0,)


def test_a_study_s_course_has_the_losses_of_every_trial_and_changes_no_number(tmp_path: Path) -> None:
    from poise.study import Study
    from poise.study.table_network import Design

    options = {"budget": "3trials", "jobs": 1, "parts": ["dropout"], "design": Design(width=8, depth=1)}
    frame = {"x": [float(at % 7) for at in range(80)], "y": [float(at % 7) * 2 for at in range(80)]}
    import pandas as pd

    results = [
        Study(pd.DataFrame(frame), target="y", out=out, ablation=False, **options).run()  # type: ignore[arg-type]
        for out in (None, tmp_path / "out")
    ]
    assert results[0].trials == results[1].trials
    seen = read_course(tmp_path / "out" / COURSE)
    assert not seen.runs
    assert {one.number for one in seen.losses} == {trial.number for trial in results[1].trials}
    assert all(list(one.steps) == sorted(set(one.steps)) for one in seen.losses)
