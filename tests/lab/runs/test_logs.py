"""Logs of other loops: columns find their side and their measure, whatever wrote them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from poise.core.errors import ArgumentError, StudyError
from poise.lab.runs import Library
from poise.lab.runs.logs import CAP, curves_of_rows, looks_like_a_log, read_log
from poise.lab.runs.source import run_of
from poise.lab.shown import figure


@pytest.mark.parametrize(
    ("train", "valid"),
    [
        ("train_loss", "val_loss"),
        ("train/loss", "eval/loss"),
        ("loss", "val_loss"),
        ("training loss", "validation loss"),
        ("train_loss_epoch", "valid_loss"),
        ("loss.train", "loss.test"),
        ("Train", "Valid"),
        ("data", "score"),  # of run.history
    ],
)
def test_columns_find_their_side(train: str, valid: str) -> None:
    curves = curves_of_rows([{"step": 1, train: 3.0, valid: 4.0}, {"step": 2, train: 2.0, valid: 3.5}])
    assert curves[0].name.lower() == "loss"
    assert curves[0].train == ((1.0, 2.0), (3.0, 2.0))
    assert curves[0].valid == ((1.0, 2.0), (4.0, 3.5))


def test_the_loss_comes_first_and_other_measures_follow() -> None:
    row = {"epoch": 1, "train_acc": 0.5, "val_acc": 0.4, "train_loss": 1.0, "val_loss": 2.0, "lr": 0.1}
    assert [one.name for one in curves_of_rows([row])] == ["loss", "acc", "lr"]


def test_a_measure_that_should_be_high_is_best_at_its_highest() -> None:
    rows = [{"step": at, "val_acc": value} for at, value in enumerate([0.5, 0.8, 0.7])]
    shown = figure("loss", rows)
    assert {one.label: one.value for one in shown.frame().numbers} == {"highest validation": 0.8, "at step": 1.0}


def test_rows_with_holes_keep_each_series_apart() -> None:
    rows = [{"step": 1, "train_loss": 2.0, "val_loss": ""}, {"step": 2, "train_loss": "", "val_loss": 1.5}, {"step": 3}]
    one = curves_of_rows(rows)[0]
    assert (one.train, one.valid) == (((1.0,), (2.0,)), ((2.0,), (1.5,)))


def test_numbers_that_are_not_finite_are_kept_and_said() -> None:
    rows = [{"step": 1, "val_loss": 1.0, "train_loss": 1.0}, {"step": 2, "val_loss": math.nan, "train_loss": "inf"}]
    shown = figure("loss", rows)
    assert "diverged" in shown.frame().notice
    json.dumps(shown.drawn.message(shown.drawn.start(), shown.frame()), allow_nan=False)


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(StudyError, match="no column of numbers"):
        curves_of_rows([{"step": 1, "name": "x"}])


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "val_loss": 2}\n{"step": 2, "val_l')
    assert read_log(path, "log").curves[0].valid == ((1.0,), (2.0,))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"step": 1}\nhello\n{"step": 2}\n', "line 2 is no JSON record"),
        ("a.csv", "step,val_loss\n", "no column of numbers"),
        ("a.csv", "\x00\xff", ""),
        ("a.json", "[" * 200_000, ""),
        ("a.json", '{"step": 1' + "0" * 5000 + ', "val_loss": 1}', ""),
        ("a.csv", "step,val_loss\n1," + "9" * 200_000 + "\n", ""),
    ],
)
def test_a_broken_log_is_said_in_words(tmp_path: Path, name: str, content: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="latin-1")
    record = read_log(path, name)
    assert record.status == "unreadable"
    assert words in record.words
    assert len(record.words) < 400


def test_a_log_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    path.write_text("step,val_loss\n1,2\n")
    with open(path, "ab") as file:
        file.truncate(CAP + 1)
    assert "reads up to" in read_log(path, "big").words


def test_a_pipe_and_a_link_are_not_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.csv")
    assert "no plain file" in read_log(tmp_path / "pipe.csv", "pipe").words
    (tmp_path / "real.csv").write_text("step,val_loss\n1,2\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert "cannot be read" in read_log(tmp_path / "link.csv", "link").words


def test_only_what_looks_like_a_log_is_found(tmp_path: Path) -> None:
    texts = {"yes.csv": "epoch,loss\n1,2\n", "no.csv": "a,b\n", "yes.jsonl": '{"step": 1}\n', "no.json": '{"a": 1}'}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = {name for name in texts if looks_like_a_log(tmp_path / name)}
    assert found == {"yes.csv", "yes.jsonl"}


@pytest.mark.parametrize("row", ["epoch;loss;val_loss\n1;0,5;0,75\n", "epoch\tloss\tval_loss\n1\t0.5\t0.75\n"])
def test_semicolons_and_tabs_divide_too(tmp_path: Path, row: str) -> None:
    (tmp_path / "log.csv").write_text(row)
    assert looks_like_a_log(tmp_path / "log.csv")
    (curves,) = read_log(tmp_path / "log.csv", "log").curves
    assert (curves.train, curves.valid) == (((1.0,), (0.5,)), ((1.0,), (0.75,)))


def test_lightning_s_own_csv_opens(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="lightning is in the extra `lightning`")
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(str(tmp_path), name="logs")
    for step in range(4):
        logger.log_metrics({"train_loss_step": 2.0 - 0.4 * step, "epoch": step // 2}, step=step)
        if step % 2:
            logger.log_metrics({"train_loss_epoch": 1.9, "val_loss": 2.5 - 0.5 * step, "epoch": step // 2}, step=step)
    logger.save()
    assert pl
    library = Library([tmp_path])
    line = library.runs()[0]
    assert line.name == "version_0/metrics.csv"
    drawn = library.figure("run-loss", [line.id])
    numbers = {one.label: one.value for one in drawn.compute(drawn.start()).numbers}
    assert numbers == {"lowest validation": 1.0, "at step": 3.0}


def test_the_history_of_a_loop_opens(capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from torch import nn

    import poise

    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    run = poise.Recipe(poise.L2(0.01), poise.Patience(2)).start(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.randn(32, 3), torch.randn(32, 1)
    for step in range(6):
        inputs, targets = run.batch(x, y)
        run.objective((model(inputs) - targets).square().mean()).backward()
        run.update(optimizer)
        if run.stop(1.0 if step != 3 else 0.5):
            break
    shown = figure("stopping", run)
    values = {one.label: one.value for one in shown.frame().numbers}
    expected = min(run.history, key=lambda row: row["score"])
    assert values == {"lowest validation": expected["score"], "at step": expected["step"]}
    weights = figure("weights", run).frame()
    assert weights.numbers[0].value == 3


def test_the_code_of_a_log_prints_its_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,train_loss,val_loss,val_acc\n1,3,4,0.5\n2,2,3,0.7\n3,1,3.5,0.6\n")
    shown = figure("loss", path)
    exec(shown.code(patience=1), {})
    printed = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert printed == [one.value for one in shown.frame(patience=1).numbers]


@pytest.mark.parametrize("source", [None, 3, "nowhere", [], [1], {"a": 1}])
def test_what_is_no_run_is_refused(source: object) -> None:
    with pytest.raises(ArgumentError, match=r"figure\.run"):
        run_of(source)
