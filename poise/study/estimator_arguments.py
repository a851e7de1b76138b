"""What an estimator's arguments must be: looked at in `fit`, because scikit-learn's constructors only store."""

from __future__ import annotations

import math
from typing import Any

from poise.core.errors import ArgumentError, shown
from poise.data.arguments import choice, whole
from poise.study.clock import parse_budget
from poise.study.device import device_of
from poise.study.search import METHODS, SEARCH_HINT
from poise.study.table_network import EMBEDDINGS

__all__ = ["check_arguments"]


def check_arguments(estimator: Any) -> None:
    """Refuse an estimator's arguments. Raises: ArgumentError."""
    name = type(estimator).__name__
    budget = parse_budget(estimator.budget)
    if estimator.checkpoint is not None and budget.seconds < math.inf:
        raise ArgumentError(
            f"`{name}.checkpoint` must be None with a budget of time; got {shown(estimator.checkpoint)}. What a clock "
            'cuts comes out otherwise each time: take a budget in configurations, such as "50trials".'
        )
    whole(f"{name}.seed", estimator.seed, 0, "The same seed gives the same model.")
    whole(f"{name}.width", estimator.width, 1, "128 is usual.")
    whole(f"{name}.depth", estimator.depth, 1, "3 is usual.")
    choice(f"{name}.embedding", estimator.embedding, EMBEDDINGS, "auto is usual.")
    choice(f"{name}.search", estimator.search, tuple(METHODS), SEARCH_HINT)
    device_of(f"{name}.device", estimator.device)
    if estimator.jobs is not None:
        whole(f"{name}.jobs", estimator.jobs, 1, "None takes one worker a core where that pays.")
    if isinstance(estimator.parts, str):
        raise ArgumentError(f"`{name}.parts` must be a list of names; got {shown(estimator.parts)}. Put it in a list.")
