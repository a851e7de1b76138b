"""Whether a budget lets networks see their rows often enough to be worth comparing."""

from __future__ import annotations

from poise.study.cohort import Plan

__all__ = ["FEWEST", "few_epochs"]

FEWEST = 5.0
"""Epochs below which a study says so: what is compared is then how fast networks start, not how well they end."""


def few_epochs(plan: Plan, rows: int, advice: str) -> str:
    """Return what is to be said of a plan that a budget cut short, for so many training rows; nothing if all is well.

    >>> few_epochs(Plan(steps=60, batch=64, every=3), 2560, "Give a larger budget.")[:54]
    'the budget lets a network train for 1.5 epochs at most'
    >>> few_epochs(Plan(steps=200, batch=64, every=3), 2560, "Give a larger budget.")
    ''
    """
    epochs = plan.steps * plan.batch / rows
    if epochs >= FEWEST:
        return ""
    return (
        f"the budget lets a network train for {epochs:.1f} epochs at most ({plan.steps} steps of {plan.batch} of "
        f"{rows:,} rows): the study compares half-trained networks. {advice}"
    )
