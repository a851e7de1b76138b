"""The weights that a trainer is to evaluate, stop and end with, and where a run's memory has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from poise.core.errors import ArgumentError, shown
from poise.core.recipe import Recipe
from poise.core.trees import map_tree
from poise.network.statistics import reestimate
from poise.train.run import Run
from poise.train.swap import kept_tensors, load_tensors

__all__ = ["Statistics", "check_monitor", "chosen_weights", "load_chosen", "move_memory", "score_of"]

Statistics = Callable[[], Iterable[Any]]
"""Returns training inputs, from which averaged weights get their batch statistics."""


def load_chosen(run: Run, statistics: Statistics | None) -> None:
    """Put into the model what `run.predictor()` predicts with: the best weights, else the averaged, else the last."""
    if run.best is not None:
        load_tensors(run.model, run.best["weights"] | run.best["buffers"])
    elif run.averaged is not None:
        load_tensors(run.model, run.averaged)
        if statistics is not None:
            reestimate(run.model, statistics())


@contextmanager
def chosen_weights(run: Run, statistics: Statistics | None, training: bool) -> Iterator[None]:
    """Evaluate with the averaged weights while training, afterwards with those of `load_chosen`; then put all back."""
    if training:
        with run.evaluation(None if statistics is None else statistics()):
            yield
    else:
        with kept_tensors(run.model, dict(run.model.named_parameters()) | dict(run.model.named_buffers())):
            load_chosen(run, statistics)
            yield


def check_monitor(owner: str, recipe: Recipe, monitor: str | None, mode: str) -> None:
    """Raise ArgumentError if a stopping part has nothing to watch, or the mode is none."""
    if not isinstance(recipe, Recipe):
        raise ArgumentError(f"`{owner}.recipe` must be a Recipe; got {shown(recipe)}. Write Recipe(L2(1e-4)).")
    if mode not in ("min", "max"):
        raise ArgumentError(f"`{owner}.mode` must be 'min' or 'max'; got {shown(mode)}. Use 'max' for an accuracy.")
    if recipe.stage("stop") and monitor is None:
        names = ", ".join(part.name for part in recipe.stage("stop"))
        raise ArgumentError(f"`{owner}.monitor` must name the metric that {names} watches; got None.")


def score_of(owner: str, metrics: Mapping[str, Any], monitor: str, mode: str) -> Any:
    """Return the monitored metric, lower is better. Raises ArgumentError if there is none of this name."""
    if monitor not in metrics:
        raise ArgumentError(
            f"`{owner}.monitor` must name a metric of the validation, one of {sorted(metrics)}; got {shown(monitor)}."
        )
    return metrics[monitor] if mode == "min" else -metrics[monitor]


def move_memory(run: Run) -> None:
    """Bring the parts' memory to the devices where they would make it now: the trainer has moved the model."""
    params = {name: p for name, p in run.model.named_parameters() if name in run.roles}
    if any(p.device.type != "cpu" for p in params.values()):
        fresh = run.recipe.remember(params)
        run.memory = map_tree(lambda own, like: own.to(like.device), run.memory, fresh)
