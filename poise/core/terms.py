"""The names of the objective's terms: the data's loss is `data`, or with several tasks `data/<task>` for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from poise.core.errors import ArgumentError, shown

__all__ = ["DATA", "data_keys", "data_terms", "task_of"]

DATA = "data"
"""The name of the data's own term, and the first half of each task's."""


def data_keys(terms: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the terms that are the data's: `data`, or one for each task.

    >>> data_keys(["data/age", "data/sex", "l2"])
    ('data/age', 'data/sex')
    """
    return tuple(name for name in terms if name == DATA or name.startswith(f"{DATA}/"))


def task_of(key: str) -> str:
    """Return the task of a data term: `age` of `data/age`; the only loss is a task called `data`.

    >>> task_of("data/age"), task_of("data")
    ('age', 'data')
    """
    return key.removeprefix(f"{DATA}/")


def data_terms(loss: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the data's terms of one loss (0-d), or of a dict with a loss for each task.

    Raises: ArgumentError if there is no task, or a name is not text without '/'.
    """
    if isinstance(loss, Tensor):
        return {DATA: loss}
    if not loss:
        raise ArgumentError("the losses of several tasks must be a dict with one 0-d tensor a task; got an empty one.")
    for task in loss:
        if not isinstance(task, str) or not task or "/" in task:
            raise ArgumentError(f"a task's name must be text without '/'; got {shown(task)}. It names terms and heads.")
    return {f"{DATA}/{task}": value for task, value in loss.items()}
