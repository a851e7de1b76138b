"""Whether a budget lets networks see their rows often enough to be worth comparing."""

from __future__ import annotations

from poise.study.cohort import SHORTEST, Plan

__all__ = ["FEWEST", "few_epochs"]

FEWEST = 5.0
"""Epochs below which a study says so: what is compared is then how fast networks start, not how well they end."""


def few_epochs(plan: Plan, rows: int, advice: str) -> str:
    """Return what is to be said of a plan that a budget cut short, for so many training rows; nothing if all is well.

    No plan has fewer than 20 steps: one that is as short needs more time than there is.

    >>> few_epochs(Plan(steps=60, batch=64, every=3), 2560, "Give a larger budget.")[:54]
    'the budget lets a network train for 1.5 epochs at most'
    >>> few_epochs(Plan(steps=200, batch=64, every=3), 2560, "Give a larger budget.")
    ''
    """
    epochs, shortest = plan.steps * plan.batch / rows, plan.steps <= SHORTEST
    if epochs >= FEWEST and not shortest:
        return ""
    late = f" It takes longer than its budget, too: no network trains for fewer than {SHORTEST} steps." * shortest
    return (
        f"the budget lets a network train for {epochs:.1f} epochs at most ({plan.steps} steps of {plan.batch} of "
        f"{rows:,} rows): the study compares half-trained networks.{late} {advice}"
    )
