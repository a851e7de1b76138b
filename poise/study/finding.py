"""The one paragraph that says what a study found."""

from __future__ import annotations

import dataclasses

from poise.core.errors import counted
from poise.core.recipe import Recipe
from poise.study.result import StudyResult

__all__ = ["finding"]


def finding(result: StudyResult, recipe: Recipe) -> StudyResult:
    """Return the result with its finding written out."""
    return dataclasses.replace(
        result, finding=" ".join([*_gap(result), _recipe(recipe), *_parts(result), *_together(result), *_best(result)])
    )


def _gap(result: StudyResult) -> list[str]:
    if not result.before or not result.after:
        why = ", because the study was interrupted before its last phase" if result.interrupted else ""
        return [f"The gap was not measured{why}."]
    metric, before, after = result.metrics[0], result.before[0], result.after[0]
    return [
        f"Without regularization, {metric.label} is {before.train.value:.4g} on the training rows and "
        f"{before.test.value:.4g} on the test rows: a gap of {before.gap.value:.3g}.",
        f"With the recipe found it is {after.train.value:.4g} and {after.test.value:.4g}: "
        f"a gap of {after.gap.value:.3g}.",
    ]


def _recipe(recipe: Recipe) -> str:
    names = [part.name.replace("_", " ") for part in recipe]
    return f"The recipe: {', '.join(names)}." if names else "The best recipe is no regularizer at all."


def _parts(result: StudyResult) -> list[str]:
    by = {verdict: [c.part.replace("_", " ") for c in result.contributions if c.verdict == verdict]
          for verdict in ("helps", "replaceable", "hurts", "no measurable effect", "not measured")}  # fmt: skip
    found = []
    if by["helps"]:
        found.append(f"Measurably helpful: {', '.join(by['helps'])}.")
    if by["replaceable"]:
        found.append(f"Helpful alone, but the others do the same work: {', '.join(by['replaceable'])}.")
    if by["hurts"]:
        found.append(f"Measurably harmful: {', '.join(by['hurts'])}.")
    if by["no measurable effect"]:
        found.append(f"No measurable effect here: {', '.join(by['no measurable effect'])}.")
    if by["not measured"]:
        found.append(f"Not measured, for lack of trainings that came to a number: {', '.join(by['not measured'])}.")
    return found


def _together(result: StudyResult) -> list[str]:
    by = {verdict: [item.target for item in result.together if item.verdict == verdict]
          for verdict in ("helps", "hurts", "no measurable effect")}  # fmt: skip
    found = []
    if by["helps"]:
        found.append(f"Learning the targets together helped {', '.join(by['helps'])}.")
    if by["hurts"]:
        found.append(f"Learning the targets together harmed {', '.join(by['hurts'])}: consider studies of one target.")
    if by["no measurable effect"]:
        found.append(f"Learning together made no measurable difference for {', '.join(by['no measurable effect'])}.")
    return found


def _best(result: StudyResult) -> list[str]:
    metric = result.metrics[0]
    scores = {arm.name: s.value.value for arm in result.arms for s in arm.scores if s.metric == metric.name}
    if "poise ensemble" not in scores:
        return []
    many = counted(result.ensemble_size, "network")
    text = f"The ensemble of {many} reaches {scores['poise ensemble']:.4g} on the test rows"
    rivals = {name: value for name, value in scores.items() if not name.startswith("poise")}
    if rivals:
        name = min(rivals, key=lambda rival: rivals[rival])
        text += f"; the best baseline, {name}, {rivals[name]:.4g}"
    return [text + "."]
