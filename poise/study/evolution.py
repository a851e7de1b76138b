"""Population-based training: the worst take over weights and dials of the best, and the dials move on."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from poise.study.bracket import Candidate, Watcher, restored
from poise.study.checkpoint import Checkpoint
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.space import Config, Space
from poise.study.tempering import tempered

__all__ = ["evolve", "perturbed"]

INTERVALS = 8
"""Parts of a training, after each of which the worst are replaced; after the first, networks have just warmed up."""

QUARTER = 0.25
"""Share of the population that is replaced, and that it is replaced from (the source's truncation, at 20 %)."""

FACTORS = (0.8, 1.25)
"""What a dial is multiplied by when it is taken over (the source's perturbation)."""

Lineage = tuple[tuple[int, Config], ...]


def evolve(
    problem: Problem,
    space: Space,
    configs: Sequence[Config],
    folds: Folds,
    plan: Plan,
    seed: int,
    halt: Halt | None = None,
    checkpoint: Checkpoint | None = None,
    watcher: Watcher | None = None,
    identities: Sequence[int] | None = None,
) -> tuple[list[Trial], list[Candidate]]:
    """Train configurations as one population that evolves; return what became of each, the best first.

    After each eighth of the steps, the worst quarter by the latest stop score (or what diverged) takes over the
    weights, the optimizer's state and the dials of a configuration of the best quarter; then each dial that a search
    moves, and the learning rate, is multiplied by 0.8 or 1.25, within its range. Random draws stay each member's own.

    What is found is a schedule of dials. A candidate's `schedule` has it from its first ancestor on, and retraining
    replays it; its `config`, which the recipe and the ablation show, holds the dials of the kept step.

    Source: Jaderberg et al. 2017, "Population Based Training of Neural Networks".
    """
    cohort = Cohort(problem, space.recipe, configs, folds, plan, seed=seed, seeds=identities)
    lines: list[Lineage] = [((0, config),) for config in configs]
    name, halt = f"bracket-{configs[0].number}", halt or Halt()
    state = None if checkpoint is None else checkpoint.load(name)
    if state is not None and "trials" in state:
        return [Trial(**one) for one in state["trials"]], [restored(one) for one in state["candidates"]]
    if state is not None:
        cohort.population.load_state_dict(state["population"])
        cohort.history = state["history"]
        lines = [tuple((step, Config(**config)) for step, config in line) for line in state["lines"]]
        cohort.configs = [line[-1][1] for line in lines]
    ends = [round(plan.steps * (part + 1) / INTERVALS) for part in range(INTERVALS)]
    while True:
        step = cohort.population.state.step
        cohort.advance(next(end for end in ends if end > step))
        if watcher is not None:
            watcher.evaluated(cohort)
        halted, step = halt.due(), cohort.population.state.step
        if halted or cohort.over(plan.steps):
            break
        if step in ends:
            lines = _exploit(cohort, space, lines, random.Random(f"{seed}/{configs[0].number}/{step}"))
        if checkpoint is not None and checkpoint.due():
            checkpoint.save(name, _state(cohort, lines))
    trials, candidates = _outcome(cohort, lines)
    if checkpoint is not None and not halted:
        done = {"trials": [asdict(one) for one in trials], "candidates": [asdict(one) for one in candidates]}
        checkpoint.save(name, done)
    return trials, candidates


def perturbed(config: Config, space: Space, draw: random.Random) -> Config:
    """Return the configuration with each searched dial of its parts, and its learning rate, moved within its range."""

    def moved(value: float, ends: tuple[float, float]) -> float:
        low, high = min(ends[0], value), max(ends[1], value)  # a start value may lie outside of the range
        return min(max(value * draw.choice(FACTORS), low), high)

    dials = {key: moved(config.dials[key], space.range_of(key)) for key in space.searched(config.on)}
    return Config(config.number, config.dials | dials, moved(config.lr, space.choices.lr), config.on)


def _exploit(cohort: Cohort, space: Space, lines: list[Lineage], draw: random.Random) -> list[Lineage]:
    """Replace the worst by perturbed copies of the best; return each configuration's new lineage."""
    scores, step = cohort.latest(), cohort.population.state.step
    order = sorted(range(len(lines)), key=lambda place: (not math.isfinite(scores[place]), scores[place]))
    count = max(1, math.floor(QUARTER * len(order)))
    best = [place for place in order[:count] if math.isfinite(scores[place])]
    lost = {place for place in order if not math.isfinite(scores[place])}
    worst = [place for place in order if place in lost or place in order[len(order) - count :]]
    donors, found = list(range(len(lines))), list(lines)
    for place in worst:
        if not best or place in best:
            continue
        donors[place] = draw.choice(best)
        line = lines[donors[place]]
        heir = Config(cohort.configs[place].number, line[-1][1].dials, line[-1][1].lr, line[-1][1].on)
        found[place] = (*line, (step, perturbed(heir, space, draw)))
    cohort.inherit(donors, [line[-1][1] for line in found])
    return found


def _outcome(cohort: Cohort, lines: list[Lineage]) -> tuple[list[Trial], list[Candidate]]:
    scores, outputs = cohort.validation()
    losses, steps, step = cohort.train_loss(), cohort.best_steps(), cohort.population.state.step
    trials, candidates = [], []
    for place in sorted(range(len(lines)), key=lambda place: float(scores[place])):
        score, kept, number = float(scores[place]), int(steps[place]), cohort.configs[place].number
        line = tuple((begin, _numbered(config, number)) for begin, config in lines[place])
        last = [one for begin, one in line if begin < max(1, kept)][-1]
        config = tempered(cohort.problem, last, outputs[place])
        sound = math.isfinite(score)
        state = "finished" if sound else "diverged"
        trials.append(Trial(number, config.dials | {"lr": config.lr}, 0, step, float(losses[place]), score, state))
        if sound:
            best = cohort.plan.steps if kept == step else kept  # where a halt cut it, as in a bracket
            seen = step if best > step else 0
            candidates.append(Candidate(config, score, outputs[place].clone(), best, cohort.plan, line, seen))
    return trials, candidates


def _numbered(config: Config, number: int) -> Config:
    return Config(number, config.dials, config.lr, config.on)


def _state(cohort: Cohort, lines: list[Lineage]) -> dict[str, Any]:
    plain = [[(step, asdict(config)) for step, config in line] for line in lines]
    return {"population": cohort.population.state_dict(), "history": cohort.history, "lines": plain}
