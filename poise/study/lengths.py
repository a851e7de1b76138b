"""How long to train: a search begins short, and trains longer only where that is seen to help."""

from __future__ import annotations

from dataclasses import dataclass, field

from poise.study.cohort import Plan

__all__ = ["BEYOND", "SHARES", "Lengths"]

SHARES = (0.25, 0.5, 1.0)
"""Of the full training, what a search may train for. Of seven tables, a quarter had the lower best loss on five."""

BEYOND = (2, 4)
"""Full trainings, what a search in time may train for besides, where the full one still gained and there is time."""


@dataclass
class Lengths:
    """The length of each bracket's trainings, found while searching.

    After the first brackets at one length, one is trained at the next longer one, and its first configurations are some
    of those so far again, with their own seeds. Where the mean of their answers improves by training longer, the longer
    length stays and the one after it is tried. Else the search keeps to the shorter, and tries again once it has had
    twice as many brackets: what regularizes well, which it finds meanwhile, may train longer than what came first.
    Brackets that begin while a longer training is tried are as long as those before.

    >>> lengths = Lengths(Plan(steps=400, batch=32, every=16))
    >>> lengths.begin().steps
    100
    >>> lengths.close()
    >>> lengths.begin().steps, lengths.begin().steps
    (200, 100)
    """

    full: Plan
    next_try: int = 1  # brackets after which a longer training is tried
    plans: list[Plan] = field(init=False)
    level: int = 0
    trying: bool = False  # whether the next bracket tries a longer training
    tried: bool = False  # whether one that does is in training
    settled: bool = False
    brackets: int = 0
    dared: int = -1  # the level at which a longer training was tried because nothing improved any more

    def __post_init__(self) -> None:
        self.plans = []
        for share in SHARES:
            plan = self.full.cut(share)
            if not self.plans or plan.steps > self.plans[-1].steps:
                self.plans.append(plan)

    @property
    def plan(self) -> Plan:
        """The length that has been found best so far."""
        return self.plans[self.level]

    @property
    def plan_of_next(self) -> Plan:
        """The length of the bracket that comes."""
        return self.plans[self.level + self.trying]

    @property
    def beyond(self) -> bool:
        """Whether the bracket that comes tries more than the full training."""
        return self.trying and self.plan_of_next.steps > self.full.steps

    def begin(self) -> Plan:
        """Return the length of the bracket that begins now."""
        plan = self.plan_of_next
        self.tried, self.trying = self.tried or self.trying, False
        return plan

    def from_full(self) -> None:
        """Train at full length from the start; longer trainings are tried from there on."""
        self.level = len(self.plans) - 1

    def only_full(self) -> None:
        """Train at full length, and at no other."""
        self.from_full()
        self.settled = True

    def stretch(self) -> None:
        """Let the search go on to longer trainings than the full one."""
        self.plans += [self.full.stretched(times) for times in BEYOND]

    def dare(self) -> bool:
        """Try a longer training next, because nothing improves at this length; return False if that was done already.

        >>> lengths = Lengths(Plan(steps=400, batch=32, every=16))
        >>> lengths.dare(), lengths.begin().steps
        (True, 200)
        >>> lengths.close(0.0)  # nothing was gained
        >>> lengths.dare(), lengths.begin().steps
        (False, 100)
        """
        if self.settled or self.level + 1 >= len(self.plans) or self.dared == self.level:
            return False
        self.dared, self.trying = self.level, True
        return True

    def settle(self) -> None:
        """Stay at the present length for good."""
        self.trying, self.settled = False, True

    def close(self, gain: float | None = None) -> None:
        """Learn from a bracket. Of one that tried a longer training, `gain` says by how much what was made again did
        better.
        """
        self.brackets += 1
        if gain is not None:
            self.tried = False
            if gain > 0:
                self.level += 1
            else:
                self.next_try = 2 * self.brackets
        longer = self.level + 1 < len(self.plans)
        self.trying = longer and not self.settled and not self.tried and self.brackets >= self.next_try
