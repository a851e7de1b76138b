"""Section 4: noise and masks."""

from __future__ import annotations

from poise.lab.section import Section, Show

__all__ = ["SECTION"]

SECTION = Section(
    "noise",
    "Noise and masks: what must survive a little damage is not learned by heart",
    (
        "Disturb a network while it trains, and it can no longer rely on any single detail: not on one unit, not on "
        "the last digit of an input, not on a label being certain. At test there is no disturbance.",
        "**Dropout** switches off each unit with probability p, anew at every step. So every step trains another "
        "network, thinner than the whole, and all of them share their weights. Click for the next one.",
        Show("dropout"),
        "With p = 0.5 a unit hears only half of its inputs. To keep the sum right, those that are kept count twice, "
        "1 / (1 - p); the first paper did it the other way round and [made the weights smaller at "
        "test](#dropout.convention=test). Both lead to the same network; libraries, this one too, scale in training. "
        "The mean of many masks is close to the full network's answer, so one network stands for all. Variants drop "
        "[whole feature maps](#dropout.kind=spatial), because in pictures the neighbours would give a single unit "
        "away, or [single weights](#dropout.kind=dropconnect). Dropout helps wide layers on little data. On a small "
        "network, or one that does not overfit, it only slows training down.",
        "**Label smoothing** disturbs the answer: the right class gets a little less than 1, the others a little more "
        "than 0. [Without it](#smoothing.amount=0) the loss always asks for a wider gap between the right logit (the "
        "score before it is made a probability) and the others. With it there is a best gap, and beyond it the slope "
        "turns. It makes a model less sure of itself, also where it should be sure.",
        Show("smoothing"),
        "**Noise** may also be added to the [inputs](#noise.kind=inputs), the [units](#noise.kind=units) or the "
        "[weights](#noise.kind=weights). What does it do? In a linear model one can say exactly: noise in the inputs "
        "is an L2 penalty, of strength twice its variance. The picture shows it: bars meet rings. Noise in the weights "
        "of a linear model is no penalty at all.",
        Show("noise"),
    ),
)
