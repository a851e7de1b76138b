"""The figures of a user's own runs, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from poise.core.errors import ArgumentError, shown
from poise.lab.base import Figure
from poise.lab.runs.figures.ablation import RunAblation
from poise.lab.runs.figures.compare import CompareLoss, CompareRecipes, CompareScores, comparable
from poise.lab.runs.figures.gap import RunArms, RunGap
from poise.lab.runs.figures.loss import RunLoss
from poise.lab.runs.figures.population import RunPopulation
from poise.lab.runs.figures.strength import RunStrength
from poise.lab.runs.figures.weights import RunWeights
from poise.lab.runs.record import RunRecord

__all__ = ["ALIASES", "NAMES", "figure_of", "figures_of", "figures_of_two"]

NAMES = (
    "run-loss", "run-gap", "run-ablation", "run-strength", "run-weights", "run-population", "run-arms",
    "compare-loss", "compare-scores", "compare-recipes",
)  # fmt: skip
ALIASES = {"stopping": "run-loss", "parts": "run-ablation", "trials": "run-population"} | {
    name.removeprefix("run-"): name for name in NAMES if name.startswith("run-")
}
"""The short names that `poise.lab.figure` takes beside the ids."""


def figures_of(record: RunRecord) -> tuple[str, ...]:
    """Return the ids of the figures that a run has data for, in reading order."""
    if record.status == "unreadable":
        return ()
    result = record.result
    kept = {
        "run-loss": bool(record.curves or record.losses) or record.status == "running",
        "run-gap": result is not None and bool(result.before or result.after),
        "run-arms": result is not None and any(arm.scores for arm in result.arms),
        "run-ablation": result is not None and bool(result.contributions),
        "run-strength": result is not None and bool(result.strengths),
        "run-weights": record.model is not None or record.weights is not None,
        "run-population": record.kind == "study",
    }
    return tuple(name for name, has in kept.items() if has)


def figures_of_two(first: RunRecord, second: RunRecord) -> tuple[str, ...]:
    """Return the ids of the figures that compare two runs."""
    found = ["compare-loss"]
    if comparable(first, second):
        found.append("compare-scores")
    if first.result is not None and second.result is not None:
        found.append("compare-recipes")
    return tuple(found)


def figure_of(name: str, records: Sequence[RunRecord]) -> Figure:
    """Return a figure of one run, or of two. Raises ArgumentError for a name that these runs have no data for."""
    name = ALIASES.get(name, name)
    known = figures_of_two(*records) if len(records) == 2 else figures_of(records[0]) if len(records) == 1 else ()
    if name not in known:
        raise ArgumentError(
            f"`figure.name` must be one of {list(known)} for {'these runs' if len(records) > 1 else 'this run'}; got "
            f"{shown(name)}. A study that is not over has not measured all."
        )
    if len(records) == 2:
        pairs: dict[str, Callable[..., Figure]] = {
            "compare-loss": CompareLoss,
            "compare-scores": CompareScores,
            "compare-recipes": CompareRecipes,
        }
        return pairs[name](*records)
    kinds: dict[str, Callable[[RunRecord], Figure]] = {
        "run-loss": RunLoss,
        "run-gap": RunGap,
        "run-arms": RunArms,
        "run-ablation": RunAblation,
        "run-strength": RunStrength,
        "run-weights": RunWeights,
        "run-population": RunPopulation,
    }
    return kinds[name](records[0])
