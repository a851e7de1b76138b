"""Model soups: one network whose weights are the mean of several that were trained apart."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown

__all__ = ["Soup", "greedy_soup"]


@dataclass(frozen=True)
class Soup:
    """What `greedy_soup` made: the network (or state dict), the places of those in it, best first, and its score."""

    model: Any
    chosen: tuple[int, ...]
    score: float


def greedy_soup(
    models: Sequence[nn.Module] | Sequence[Mapping[str, Tensor]],
    score: Callable[[Any], float],
    *,
    restate: Callable[[nn.Module], Any] | None = None,
) -> Soup:
    """Return the mean of those networks' weights that, taken best first, do not make the mean's score worse.

    Networks of one structure that began from the same weights (fine-tuned with different dials or seeds) are averaged
    well; ones that began apart are not, and then the soup is the best network alone. One network's cost at
    prediction; making it costs two scores a network. `score(model)` is the validation score, lower is better. A
    population's members are `[stack.network(i) for i in range(len(stack))]`.

    Means are taken in float64; what is no float (a counter) is the best network's. Batch statistics belong to the
    weights they were counted with: give `restate=partial(reestimate, batches=training_inputs)`, which is called on each
    candidate network before its score.

    Neutral: one network, which is returned as it is.
    Raises: ArgumentError if there is no network, tensors differ in name or shape, no score is a finite number, or
    `restate` comes with state dicts.
    Source: Wortsman et al. 2022, "Model soups", recipe 1 (greedy soup); ties are taken in, as there.

    >>> found = greedy_soup([{"w": torch.tensor(v)} for v in (4.0, 9.0, 1.0)], lambda state: abs(float(state["w"]) - 3))
    >>> found.model["w"].item(), found.chosen, found.score  # 4, then 4 and 1 are better; with 9 it would be worse
    (2.5, (0, 2), 0.5)
    """
    if not models:
        raise ArgumentError("`greedy_soup.models` must hold at least one network or state dict; got none.")
    states = [model.state_dict() if isinstance(model, nn.Module) else model for model in models]
    _check_alike(states)
    given = [model for model in models if isinstance(model, nn.Module)]
    if restate is not None and len(given) < len(models):
        raise ArgumentError("`greedy_soup.restate` must come with networks; got state dicts, which it cannot run.")

    def judged(state: Mapping[str, Tensor]) -> tuple[Any, float]:
        if not given:
            return state, _number(score(state))
        network = copy.deepcopy(given[0]).eval()
        network.load_state_dict(state)
        if restate is not None:
            restate(network)
        return network, _number(score(network))

    alone = [judged(state)[1] for state in states]
    order = sorted(range(len(states)), key=alone.__getitem__)
    if not math.isfinite(alone[order[0]]):
        raise ArgumentError("`greedy_soup.score` must give one network a finite number; got none. Lower is better.")
    chosen, best = order[:1], judged(states[order[0]])
    for place in order[1:]:
        candidate = judged(_mean([states[other] for other in [*chosen, place]]))
        if candidate[1] <= best[1]:
            chosen, best = [*chosen, place], candidate
    return Soup(best[0], tuple(chosen), best[1])


def _number(score: float | Tensor) -> float:
    value = float(score)
    return math.inf if math.isnan(value) else value


def _mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each tensor; the first one's where it is no float."""

    def mean(name: str, first: Tensor) -> Tensor:
        if not first.is_floating_point():
            return first
        return torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)

    return {name: mean(name, first) for name, first in states[0].items()}


def _check_alike(states: Sequence[Mapping[str, Tensor]]) -> None:
    shapes = [{name: tuple(tensor.shape) for name, tensor in state.items()} for state in states]
    for place, own in enumerate(shapes):
        if own != shapes[0]:
            odd = sorted(name for name in {*own, *shapes[0]} if own.get(name) != shapes[0].get(name))
            raise ArgumentError(
                f"`greedy_soup.models` must have tensors of the same names and shapes; got {shown(odd[0])} as "
                f"{own.get(odd[0])} in model {place} and {shapes[0].get(odd[0])} in model 0. Average one structure."
            )
