"""Anything that holds a run, as a record: what `poise.lab.figure` takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from poise.core.errors import ArgumentError, shown
from poise.lab.runs.logs import read_log, record_of_rows
from poise.lab.runs.record import RunRecord
from poise.lab.runs.study_folder import is_study, read_study, record_of_result
from poise.study.result import StudyResult
from poise.study.study import Study
from poise.train.run import Run

__all__ = ["run_of"]


def run_of(source: object) -> RunRecord:
    """Return the record of a run: a `Study` or its result, a `Run` or its history, a model, a study's folder, a log.

    Raises: ArgumentError if it is none of these, or holds nothing that can be drawn; StudyError for a damaged file.

    >>> run_of([{"step": 1, "train_loss": 2.0, "val_loss": 3.0}]).curves[0].valid
    ((1.0,), (3.0,))
    """
    if isinstance(source, RunRecord):
        return source
    if isinstance(source, Study):
        if source.result is None:
            raise ArgumentError("`figure.run` is a study without a result. Call study.run() first.")
        record = record_of_result(source.result, source.source.name)
        members = {} if source.model is None else source.model.single(0).stack.weights
        weights = {name: tensor[0] for name, tensor in members.items()} or None
        return replace(record, weights=weights)
    if isinstance(source, StudyResult):
        return record_of_result(source, source.table)
    if isinstance(source, Run):
        record = record_of_rows(source.history) if source.history else _empty("run")
        return replace(record, weights={name: p.detach() for name, p in source.model.named_parameters()})
    if isinstance(source, nn.Module):
        return replace(_empty("model"), weights={name: p.detach() for name, p in source.named_parameters()})
    if isinstance(source, list | tuple) and source and all(isinstance(row, Mapping) for row in source):
        return record_of_rows(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir() and is_study(path):
            return _readable(read_study(path, str(path)))
        if path.is_file():
            return _readable(read_log(path, str(path)))
        raise ArgumentError(
            f"`figure.run` must be a study's folder or a log (.csv, .jsonl, .json); got {shown(str(path))}. "
            "A study's folder holds result.json or record.sqlite."
        )
    raise ArgumentError(
        "`figure.run` must be a Study, a StudyResult, a Run, its history, a module, a study's folder or a log; got "
        f"{shown(source)}."
    )


def _empty(name: str) -> RunRecord:
    return RunRecord("0" * 16, name, "", "", "log", "log", 0.0, 0.0)


def _readable(record: RunRecord) -> RunRecord:
    if record.status == "unreadable":
        raise ArgumentError(f"`figure.run` cannot be read: {record.words}")
    return record
