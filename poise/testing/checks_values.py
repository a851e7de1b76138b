"""Checks of the values that pass through the stages: neutral, members, inputs, keys, types, randomness."""

from __future__ import annotations

import copy
import dataclasses
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poise.core.context import Batch
from poise.core.dial import dials_of
from poise.core.kinds import Transform
from poise.core.select import SELECTIONS, select
from poise.core.trees import stack_trees
from poise.objective.weighting import Weighting
from poise.testing.samples import changed
from poise.testing.trial import Case, Trial, copied, equal, tensors, trial_of, worst

__all__ = [
    "check_acts",
    "check_another_key",
    "check_distributions",
    "check_dtype",
    "check_global_random",
    "check_inputs_kept",
    "check_member",
    "check_neutral",
    "check_numbers",
    "check_only_or",
    "check_other_terms",
    "check_plain_rows",
    "check_replay",
    "check_same_key",
    "check_selection",
    "member_gap",
]

_STEPS = 3


def check_neutral(trial: Trial) -> int:
    """With every dial at neutral, each stage returns the value that it was given, at every step."""
    neutral = {name: declared.neutral for name, declared in dials_of(trial.part).items()}
    memory = trial.start(trial.case(dials=neutral))
    for step in range(_STEPS):
        case = trial.case(step=step, dials=neutral)
        for stage in trial.stages:
            before = trial.value(case, stage)
            after, memory = trial.run(stage, case, memory, step)
            if stage == "objective":
                extra = {name: float(term) for name, term in after.items() if name not in before and float(term) != 0}
                assert not extra, f"objective: neutral terms are not 0: {extra}"
                after = {name: after[name] for name in before}
            gap = worst(before, after)
            assert equal(before, after), f"{stage}: at neutral the value changes by {gap:.2g} (step {step})"
    return _STEPS * len(trial.stages)


def check_acts(trial: Trial) -> int:
    """Away from neutral, at least one stage changes a value within six steps."""
    memory, changed_at = trial.start(trial.case()), 0
    for step in range(6):
        case = trial.case(step=step)
        for stage in trial.stages:
            before = trial.value(case, stage)
            after, memory = trial.run(stage, case, memory, step)
            changed_at += not equal(before, after)
    assert changed_at, "does nothing on the sample: give it a sample on which it acts"
    return 6


def _members(trial: Trial, dtype: torch.dtype, step: int) -> list[Case]:
    """Return three cases whose dials stand at their value, half way to neutral, and at neutral."""
    cases = []
    for member, share in enumerate((1.0, 0.5, 0.0)):
        dials = {}
        for name, declared in dials_of(trial.part).items():
            value, neutral = float(trial.part.dials()[name]), declared.neutral
            dials[name] = neutral if share == 0 else value if np.isinf(neutral) else neutral + share * (value - neutral)
        cases.append(trial.case(member=member, step=step, dtype=dtype, dials=dials))
    return cases


def member_gap(trial: Trial, dtype: torch.dtype) -> float:
    """Return how far a member of a mapped population is from the same member alone: 0 if bit for bit equal."""
    found = 0.0
    memories: list[Any] = [trial.start(case) for case in _members(trial, dtype, 0)]
    for step in range(_STEPS):
        cases = _members(trial, dtype, step)

        def once(case: Case, memory: Any, step: int = step) -> dict[str, Any]:
            return trial.once(case, memory, step)

        # "different", so that a draw from torch's own generator is left to the check that is meant for it.
        mapped = torch.vmap(once, randomness="different")(stack_trees(cases), stack_trees(memories))
        for member, case in enumerate(cases):
            alone = once(case, memories[member])
            found = max(found, worst({k: v[member] for k, v in tensors(mapped).items()}, tensors(alone)))
            memories[member] = alone["memory"]
    return found


def check_member(trial: Trial) -> int:
    """A member of a population gets what it gets alone: to 2e-6 in float32, to 1e-12 in float64."""
    for dtype, bound in ((torch.float32, 2e-6), (torch.float64, 1e-12)):
        gap = member_gap(trial, dtype)
        assert gap <= bound, f"a member differs by {gap:.2g} from the same member alone ({dtype})"
    return 2 * 3 * _STEPS * len(trial.stages)


def check_numbers(trial: Trial) -> int:
    """A dial that is a number does what the same number as a tensor does."""
    case = trial.case()
    first = trial.once(case, trial.start(case))
    second = trial.once(case, trial.part.remember(case["params"]), numbers=True)
    gap = worst(first, second)
    assert gap <= 2e-6, f"a number and a tensor as dial differ by {gap:.2g}"
    return len(trial.stages)


def check_inputs_kept(trial: Trial) -> int:
    """No stage changes what it was given: value, memory, weights, batch, dials; nor the part itself."""
    case = trial.case()
    memory = trial.start(case)
    before, own = copied({"case": case, "memory": memory}), copy.deepcopy(vars(trial.part))
    for step in range(_STEPS):
        trial.once(case, memory, step)
    after = tensors({"case": case, "memory": memory})
    changed = [path for path, leaf in tensors(before).items() if not equal(leaf, after.get(path))]
    assert not changed, f"changed in place: {', '.join(changed)}"
    assert repr(own) == repr(vars(trial.part)), "something is stored on the part"
    return len(after)


def check_same_key(trial: Trial) -> int:
    """The same case gives the same result, bit for bit, however often."""
    case = trial.case()
    memory = trial.start(case)
    first = trial.once(copied(case), copied(memory))
    for _ in range(3):
        assert equal(first, trial.once(copied(case), copied(memory))), "two runs on one key differ"
    return 3


def check_another_key(trial: Trial) -> int:
    """Another seed, member, step or part name draws other numbers; the rest of the case stays."""
    case = trial.case()
    memory = trial.start(case)
    first = trial.once(case, memory)
    for place, word in enumerate(("seed", "member", "step")):
        others = []
        for change in range(1, 9):
            key = case["key"].clone()
            key[place] += change
            others.append(equal(first, trial.once(case | {"key": key}, memory)))
        assert not all(others), f"another {word} draws the same numbers"
    renamed = [trial_of(changed(trial.part, name=f"other_{i}"), trial.sample) for i in range(8)]
    values = list(first["values"].values())
    # A layer with weights carries the part's name in theirs: then the case does not fit the renamed part.
    fitting = [other for other in renamed if list(other.roles) == list(trial.roles)]
    same = [worst(values, list(other.once(case, memory)["values"].values())) == 0 for other in fitting]
    assert not same or not all(same), "another part name draws the same numbers"
    return 4


def check_dtype(trial: Trial, dtype: torch.dtype) -> int:
    """Every stage returns the type and device it was given, also with mapped dials of float32."""
    seen = 0
    memories: list[Any] = [trial.start(case) for case in _members(trial, dtype, 0)]
    for stage in trial.stages:
        case = trial.case(dtype=dtype)
        given = tensors(trial.value(case, stage))
        alone = tensors(trial.run(stage, case, memories[0])[0])

        def mapped(case: Case, memory: Any, stage: str = stage) -> dict[str, Tensor]:
            return tensors(trial.run(stage, case, memory)[0])

        several = torch.vmap(mapped, randomness="different")(
            stack_trees(_members(trial, dtype, 0)), stack_trees(memories)
        )
        for word, result in (("alone", alone), ("mapped", several)):
            for path, leaf in given.items():
                assert path in result, f"{stage}: {path} is lost ({word})"
                found = result[path]
                assert found.dtype == leaf.dtype, f"{stage}: {path} was {leaf.dtype}, is {found.dtype} ({word})"
                assert found.device == leaf.device, f"{stage}: {path} moved to {found.device} ({word})"
                seen += 1
    return seen


def check_global_random(trial: Trial) -> int:
    """The global generators of torch, NumPy and Python stay where they are."""

    def states() -> dict[str, str]:
        return {
            "torch": str(torch.get_rng_state().tolist()),
            "numpy.random": str([np.random.get_state()[1].tolist(), np.random.get_state()[2]]),  # type: ignore[index]  # the tuple form
            "random": str(random.getstate()),
        }

    before = states()
    dataclasses.replace(trial.part)
    case = trial.case()
    memory = trial.start(case)
    for step in range(_STEPS):
        trial.once(case, memory, step)
    after = states()
    moved = [name for name in before if before[name] != after[name]]
    assert not moved, f"draws from the global generator of {', '.join(moved)}"
    return len(before)


def check_selection(trial: Trial) -> int:
    """Parameters outside the selection get no change and no gradient."""
    for where in SELECTIONS:
        other = trial_of(changed(trial.part, where=where), trial.sample)
        case, chosen = other.case(), select(other.roles, where)
        for stage in (s for s in other.stages if s in ("shrink", "update")):
            after = other.run(stage, case, other.start(case))[0]
            moved = [n for n in case["params"] if n not in chosen and not equal(case["params"][n], after[n])]
            assert not moved, f"{stage}: where={where!r} also changes {', '.join(moved)}"
            still = [n for n in chosen if equal(case["params"][n], after[n])]
            assert len(still) < max(1, len(chosen)), f"{stage}: where={where!r} changes nothing"
    return len(SELECTIONS)


def check_distributions(trial: Trial) -> int:
    """After the batch stage, targets are still distributions, and rows and columns are as many."""
    for step in range(8):
        case = trial.case(step=step)
        after, _ = trial.run("batch", case, trial.start(case), step)
        assert after.targets.shape == case["batch"]["targets"].shape, "the shape of the targets changes"
        assert after.inputs.shape == case["batch"]["inputs"].shape, "the shape of the inputs changes"
        assert bool((after.targets >= 0).all()), "a target is negative"
        gap = float((after.targets.sum(-1) - 1).abs().max())
        assert gap <= 2e-6, f"targets sum to 1 only within {gap:.2g}"
    return 8


def check_plain_rows(trial: Trial) -> int:
    """The batch stage takes rows without weights, targets of a regression, and a single row."""
    case = trial.case()
    inputs, targets = case["batch"]["inputs"], case["batch"]["targets"]
    regression = dataclasses.replace(trial, sample=dataclasses.replace(trial.sample, classes=None))
    for word, run, batch in (
        ("no weights", trial, Batch(inputs, targets)),
        ("regression", regression, Batch(inputs, targets[:, 0])),
        ("one row", trial, Batch(inputs[:1], targets[:1])),
    ):
        ctx = run.context(case, 0, "batch")
        after, _ = run.part.batch(batch, run.start(case), ctx)
        assert after.weights is None, f"{word}: weights appear"
        assert after.inputs.shape == batch.inputs.shape, f"{word}: the inputs' shape is {tuple(after.inputs.shape)}"
        assert after.targets.shape == batch.targets.shape, f"{word}: the targets' shape is {tuple(after.targets.shape)}"
        assert all(bool(torch.isfinite(leaf).all()) for leaf in tensors(after).values()), f"{word}: not finite"
    return 3


def check_replay(trial: Trial) -> int:
    """A draw can be replayed: apply(draw) is the batch stage, and does not draw."""
    part = trial.part
    assert isinstance(part, Transform)
    case = trial.case()
    ctx, batch = trial.context(case, 0, "batch"), Batch(**case["batch"])
    draw = part.draw(ctx.rng, batch, ctx)
    whole, _ = part.batch(batch, {}, ctx)
    elsewhere = dataclasses.replace(ctx, rng=trial.context(trial.case(member=5), 0, "batch").rng)
    assert equal(whole, part.apply(batch, draw, ctx)), "apply(draw) is not what the batch stage does"
    assert equal(whole, part.apply(batch, draw, elsewhere)), "apply draws numbers of its own"
    return 2


def check_other_terms(trial: Trial) -> int:
    """The objective stage adds terms under the part's own name and leaves the others; a weighting scales the data's."""
    case = trial.case()
    memory = trial.start(case)
    before = {name: torch.tensor(1.5) for name in trial.value(case, "objective")} | {"another": torch.tensor(-0.25)}
    after, _ = trial.part.objective(dict(before), memory, trial.context(case, 0, "objective"))
    kept = ["another"] if isinstance(trial.part, Weighting) else list(before)
    moved = [name for name in kept if not equal(before[name], after.get(name))]
    assert not moved, "another part's term changes"
    own = set(after) - set(before)
    assert own <= {trial.part.name}, f"adds terms that are not its own: {sorted(own)}"
    assert all(term.dim() == 0 for term in after.values()), "a term is not a scalar"
    return len(after)


def check_only_or(trial: Trial) -> int:
    """A run that another part has stopped stays stopped."""
    case = trial.case() | {"stopped": torch.tensor(True)}
    memory = trial.start(case)
    for step in range(_STEPS):
        stopped, memory = trial.run("stop", case, memory, step)
        assert stopped.dtype == torch.bool, f"stop returns {stopped.dtype}"
        assert bool(stopped), "a stopped run goes on"
    return _STEPS
