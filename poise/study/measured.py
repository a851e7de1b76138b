"""What is measured of a recipe once it is found: the gap, each part, each strength, and what several targets gain."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from poise.core.errors import PoiseWarning
from poise.study.ablation import ablate, arms_plan
from poise.study.arms import Arms
from poise.study.clock import Clock
from poise.study.fit import Fitted
from poise.study.halt import Halt
from poise.study.prepare import Prepared
from poise.study.result import Contribution, Strength, Together
from poise.study.space import Space
from poise.study.together import learned_alone
from poise.study.workers import WorkersLostError

__all__ = ["Measured", "measured"]


@dataclass
class Measured:
    """What the ablation's trainings told, as far as they came; `notes` are what is to be said of them."""

    arms: Arms | None = None
    parts: tuple[Contribution, ...] = ()
    strengths: tuple[Strength, ...] = ()
    pairs: tuple[Together, ...] = ()
    notes: tuple[str, ...] = ()
    interrupted: bool = False


def measured(
    ready: Prepared,
    space: Space,
    fitted: Fitted,
    clock: Clock,
    shares: tuple[float, float, float],
    *,
    ablation: bool,
    seed: int,
    jobs: int,
    tell: Callable[[str, float], None],
) -> Measured:
    """Retrain the recipe without its parts, and each of several targets alone.

    `shares` of the budget: where this begins, where it is planned to end, and where it ends at the latest. Ctrl-C, or
    the loss of the last worker, leaves out what was not measured by then.
    """
    found = Measured()
    begins, planned, latest = shares
    try:
        plan = arms_plan(fitted, clock.left(planned), jobs, ablation=ablation)
        tell(plan.message, begins)
        began = time.time()
        late = Halt(deadline=began + max(5.0, clock.left(latest)))
        found.arms, found.parts, found.strengths = ablate(ready, space, fitted, plan, seed=seed, jobs=jobs, halt=late)
        found.notes += (note,) if (note := plan.note(fitted.plan, found.arms.cut)) else ()
        if len(ready.targets) > 1 and not late.due():
            tell("learning each target alone", planned)
            # Twice what the ablation took for as many arms: narrower populations are slower.
            took = (time.time() - began) * len(ready.targets) / (plan.arms - len(ready.targets))
            late = Halt(deadline=max(late.deadline, time.time() + 2 * took))
            found.pairs = learned_alone(ready, space, fitted, plan, found.arms, seed=seed, jobs=jobs, halt=late)
    except KeyboardInterrupt:
        found.interrupted = True
    except WorkersLostError as error:
        what = "Neither the gap nor the parts were" if found.arms is None else "Learning each target alone was not"
        found.notes += (f"{error} {what} measured.",)
        warnings.warn(found.notes[-1], PoiseWarning, stacklevel=2)
    return found
