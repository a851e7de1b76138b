"""Section 2: penalties on the weights."""

from __future__ import annotations

from poise.lab.section import Section, Show

__all__ = ["SECTION"]

SECTION = Section(
    "penalties",
    "Penalties: every weight must be worth its price",
    (
        "A penalty adds a price to the error: the larger the weights, the higher the price. Training then looks for "
        "weights that fit well *and* are cheap. A weight that only helps to follow noise earns too little: it shrinks.",
        "Two prices are in common use. **L2** asks for half the sum of squares: large weights are very expensive, "
        "small ones nearly free, so that none has a reason to go all the way to zero. **L1** asks for the sum of "
        "sizes: the last bit of a weight costs as much as the first, and one that does not earn it is exactly zero.",
        Show("weights"),
        "Ten of the sixteen columns have nothing to say. [L1 at 1](#weights.l1=1) finds eight of them, and wrongly "
        "drops two that say a little; at [0.05](#weights.l1=0.05) it finds none, and at [20](#weights.l1=20) it throws "
        "everything away. L2 never makes a zero, [however strong](#weights.l2=20). Both together are the "
        "[elastic net](#weights.l1=0.8&weights.l2=0.5): zeros, but columns that say nearly the same (5 and 6) share "
        "their weight, where L1 alone gives almost all of it to one. L1 helps when few columns matter. If all matter "
        "a little, L2 is the better one.",
        Show("path"),
        "Why corners matter: a penalty is the same as a budget. Within the budget one takes the point of least loss. "
        "The diamond of L1 has corners on the axes and is mostly touched there, where one weight is zero. The disc of "
        "L2 is touched anywhere. The corner is no law, though: turn the minimum to "
        "[45 degrees](#constraint.angle=45) and the diamond is touched on its side.",
        Show("constraint"),
        "**Weight decay** does not touch the loss: it makes every weight smaller by a share at each step. With plain "
        "gradient descent that [is L2](#decay_heat.optimizer=sgd&decay_heat.rate=0.1), number for number. With "
        "[Adam](#decay_heat.optimizer=adam&decay_heat.rate=0.01), which divides each gradient by its usual size, it "
        "is not: the pull of the penalty is divided too, that of decay is not. Both can reach about the same error "
        "here, but at strengths far apart. So a strength found for one is no use for the other: tune it anew.",
        Show("decay_heat"),
    ),
)
