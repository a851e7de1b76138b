"""The state of a run as plain tensors and numbers, for a resume that is equal bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from poise.core.errors import CheckpointError
from poise.core.spec import from_spec
from poise.core.trees import map_tree

if TYPE_CHECKING:
    from poise.train.run import Run

__all__ = ["load_run", "state_of"]


def state_of(run: Run) -> dict[str, Any]:
    """Return the run's own state; `now` is the recipe with the dials as they were set since the start."""
    state = {
        "step": run.step_number,
        "draws": run.draws,
        "classes": run.classes,
        "terms": run.terms,
        "seed": run.seed,
        "stopped": run.stopped,
        "memory": run.memory,
        "averaged": run.averaged,
        "best": run.best,
        "history": run.history,
        "recipe": run.started.spec(),
        "now": run.recipe.spec(),
    }
    return copy.deepcopy(state)


def load_run(run: Run, state: Mapping[str, Any]) -> None:
    """Put a state into a run that was started alike. Raises CheckpointError for another recipe's or model's."""
    if not isinstance(state, Mapping) or state.get("recipe") != run.started.spec():
        raise CheckpointError("`Run.load_state_dict` got the state of another recipe; start the one that saved it.")
    own = state_of(run)
    if missing := sorted(own.keys() - state.keys()):
        raise CheckpointError(f"`Run.load_state_dict` got a state without {', '.join(missing)}: it is damaged.")
    if _shapes(state["memory"]) != _shapes(own["memory"]):
        raise CheckpointError("`Run.load_state_dict` got the state of another model: its tensors differ in shape.")
    state = copy.deepcopy(dict(state))
    run.step_number, run.draws, run.seed = state["step"], state["draws"], state["seed"]
    run.stopped, run.memory = state["stopped"], state["memory"]
    run.averaged, run.best, run.history = state["averaged"], state["best"], state["history"]
    run.terms, run.classes = state["terms"], state["classes"]
    run.recipe = from_spec(state["now"])


def _shapes(memory: Any) -> Any:
    return map_tree(lambda leaf: getattr(leaf, "shape", None), memory)
