"""The common battery: what every regularizer must hold, derived from its class.

    check_regularizer(MyPart(0.3))      # in the part's own test file

A check that does not apply is listed with its reason, and a part that runs fewer checks than its class calls for
fails: nothing passes by being skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch

from poise.core import rng
from poise.core.dial import dials_of
from poise.core.kinds import Insertion, Penalty, Transform
from poise.core.regularizer import Regularizer
from poise.testing import checks_class as of_class
from poise.testing import checks_math as of_math
from poise.testing import checks_values as of_values
from poise.testing.samples import Sample, sample_for
from poise.testing.trial import Trial, trial_of

__all__ = ["Check", "Report", "battery", "check_regularizer", "declared_checks", "draws", "failures"]


@dataclass(frozen=True)
class Report:
    """What the battery did: the checks that ran, those that do not apply and why, and remarks on those that ran."""

    name: str
    ran: tuple[str, ...]
    not_applicable: Mapping[str, str]
    notes: Mapping[str, str]

    @property
    def count(self) -> int:
        """How many checks ran."""
        return len(self.ran)


@dataclass(frozen=True)
class Check:
    """One claim: `run` raises AssertionError or returns how many cases it saw; `absent` says why it does not apply."""

    name: str
    run: Callable[[Trial], int]
    absent: Callable[[Regularizer], str] = lambda part: ""


def _unless(stages: tuple[str, ...], reason: str) -> Callable[[Regularizer], str]:
    return lambda part: "" if set(stages) & set(part.stages()) else reason


def _unless_kind(kind: type[Regularizer], reason: str) -> Callable[[Regularizer], str]:
    return lambda part: "" if isinstance(part, kind) else reason


def _without_dials(part: Regularizer) -> str:
    return "" if dials_of(part) else "the part has no dial"


def _without_gradient(part: Regularizer) -> str:
    if part.detached:
        return f"{part.detached} is held constant: the gradient is not the derivative of the value"
    if isinstance(part, Insertion) and part.own_gradient:
        return "the backward pass is not the forward's derivative, by design"
    return "" if isinstance(part, (Penalty, Insertion)) or _adds_gradient(part) else "nothing here is differentiated"


def _adds_gradient(part: Regularizer) -> bool:
    """Whether an objective stage of the part's own may carry a gradient; one that thresholds only reports its value."""
    return "objective" in part.stages() and "scale" not in part.needs


def _without_draws(part: Regularizer) -> str:
    return "" if draws(part, sample_for(part)) else "the part draws nothing"


def _without_selection(part: Regularizer) -> str:
    has = "where" in {f.name for f in fields(part)} and {"shrink", "update"} & set(part.stages())
    return "" if has else "no weights are selected by role and changed"


def _may_expand(part: Regularizer) -> str:
    changes = {"shrink", "update"} & set(part.stages())
    return part.expansive if changes else "no weights are changed"


COMMON: tuple[Check, ...] = (
    Check("class facts", of_class.check_facts),
    Check("docstring", of_class.check_docstring),
    Check("round trip", of_class.check_round_trip),
    Check("copies", of_class.check_copies),
    Check("in a recipe", of_class.check_in_recipe),
    Check("neutral", of_values.check_neutral, _without_dials),
    Check("acts", of_values.check_acts),
    Check("member equals alone", of_values.check_member),
    Check("number equals tensor", of_values.check_numbers, _without_dials),
    Check("inputs kept", of_values.check_inputs_kept),
    Check("same key", of_values.check_same_key),
    Check("another key", of_values.check_another_key, _without_draws),
    Check("global generators", of_values.check_global_random),
    Check("float32 kept", partial(of_values.check_dtype, dtype=torch.float32)),
    Check("float64 kept", partial(of_values.check_dtype, dtype=torch.float64)),
    Check("bfloat16 kept", partial(of_values.check_dtype, dtype=torch.bfloat16)),
    Check("resume", of_math.check_resume),
    Check("replay", of_values.check_replay, _unless_kind(Transform, "the part is not a Transform")),
    Check("distributions", of_values.check_distributions, _unless(("batch",), "no batch stage")),
    Check("plain rows", of_values.check_plain_rows, _unless(("batch",), "no batch stage")),
    Check("other terms", of_values.check_other_terms, _unless(("objective",), "no objective stage")),
    Check("gradient", of_math.check_gradient, _without_gradient),
    Check("layers", of_math.check_layers, _unless_kind(Insertion, "no layer is inserted")),
    Check("selection", of_values.check_selection, _without_selection),
    Check("non-expansive", of_math.check_non_expansive, _may_expand),
    Check("only or", of_values.check_only_or, _unless(("stop",), "no stop stage")),
)
"""The checks of every part; those of each dial come on top."""


def battery(part: Regularizer) -> tuple[Check, ...]:
    """Return all checks that the battery knows for the part, applicable or not."""
    each = [
        Check(f"{word} of {name}", partial(run, field=name))
        for name in dials_of(part)
        for word, run in (("bounds", of_class.check_bounds), ("schedule", of_class.check_schedule))
    ]
    return (*COMMON, *each)


@contextmanager
def _counted_draws() -> Iterator[list[str]]:
    """Collect a word for each draw from keyed generators."""
    seen: list[str] = []
    keyed = rng.keyed_words

    def counting(keys: torch.Tensor, stream_number: int, count: int) -> torch.Tensor:
        seen.append(str(stream_number))
        return keyed(keys, stream_number, count)

    rng.keyed_words = counting
    try:
        yield seen
    finally:
        rng.keyed_words = keyed


def draws(part: Regularizer, sample: Sample) -> bool:
    """Whether the part draws random numbers: a Transform always does, another is tried."""
    if isinstance(part, Transform):
        return True
    trial = trial_of(part, sample)
    case = trial.case()
    with _counted_draws() as seen:
        trial.once(case, trial.start(case))
    return bool(seen)


def declared_checks(part: Regularizer) -> int:
    """Return how many checks must run, by the part's class alone: stages, kind, dials, and whether it selects."""
    stages, count = set(part.stages()), len(dials_of(part))
    return (
        # facts, docstring, round trip, copies, recipe, acts, member, inputs, same key, generators, three types, resume
        14
        + 2 * bool(count)  # neutral, numbers
        + 2 * count  # bounds and schedule of each dial
        + 2 * isinstance(part, Transform)  # another key, replay
        + 2 * ("batch" in stages)
        + ("objective" in stages)
        + (isinstance(part, Penalty) or (isinstance(part, Insertion) and not part.own_gradient))  # gradient
        + isinstance(part, Insertion)  # layers
        + bool(stages & {"shrink", "update"}) * ((not part.expansive) + ("where" in {f.name for f in fields(part)}))
        + ("stop" in stages)
    )


def failures(part: Regularizer, sample: Sample | None = None) -> tuple[Report, dict[str, str]]:
    """Run the battery and return the report and, for each check that failed, why."""
    trial = trial_of(part, sample or sample_for(part))
    ran, absent, failed = [], {}, {}
    for check in battery(part):
        if reason := check.absent(part):
            absent[check.name] = reason
            continue
        ran.append(check.name)
        try:
            # gradcheck and vmap take seeds from torch's generator; a part that does is told so by its own check.
            with torch.random.fork_rng(devices=[]):
                seen = check.run(trial)
            if seen < 1:
                failed[check.name] = "looked at no case"
        except Exception as error:  # noqa: BLE001  # a part that raises fails the check in which it does; the rest run on
            failed[check.name] = f"{'' if isinstance(error, AssertionError) else type(error).__name__ + ': '}{error}"
    return Report(type(part).__name__, tuple(ran), absent, _notes(trial, failed)), failed


def _notes(trial: Trial, failed: Mapping[str, str]) -> dict[str, str]:
    if "member equals alone" in failed:
        return {}
    gap = of_values.member_gap(trial, torch.float32)
    if gap == 0:
        return {}
    return {"member equals alone": f"within {gap:.1g} in float32, not bit for bit: sums run in another order"}


def check_regularizer(part: Regularizer, *, sample: Sample | None = None) -> Report:
    """Run the common battery over one part whose dials are numbers away from neutral.

    Raises: AssertionError naming every check that failed and why, or that fewer ran than the class calls for.

    >>> from poise.update import Decay
    >>> check_regularizer(Decay(0.1)).not_applicable["gradient"]
    'nothing here is differentiated'
    """
    at_rest: list[Any] = [n for n, d in dials_of(part).items() if part.dials()[n] == d.neutral]
    if at_rest:
        raise AssertionError(f"{type(part).__name__}: give dials away from neutral; {', '.join(at_rest)} is at neutral")
    report, failed = failures(part, sample)
    if failed:
        rows = "\n".join(f"  {name}: {why}" for name, why in failed.items())
        raise AssertionError(f"{part!r} fails {len(failed)} of {report.count} checks:\n{rows}")
    if report.count < declared_checks(part):
        raise AssertionError(f"{part!r}: {report.count} checks ran, its class calls for {declared_checks(part)}")
    return report
