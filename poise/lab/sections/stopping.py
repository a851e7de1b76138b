"""Section 3: early stopping."""

from __future__ import annotations

from poise.lab.section import Section, Show

__all__ = ["SECTION"]

SECTION = Section(
    "stopping",
    "When to stop: before the model has learned the noise",
    (
        "A network learns the broad shape first and the accidents of its forty rows later. So there is a moment when "
        "it knows most of what is true and little of what is not. After it the training error goes on falling, and "
        "the error on rows kept aside, the **validation** rows, rises.",
        "Press play and watch both. The upright line marks the best step so far.",
        Show("stopping"),
        "Nobody rings a bell at the best step: one only sees it afterwards. **Patience** is the simple answer. Keep a "
        "copy of the weights whenever the validation error reaches a new low; when it has not done so for a while, "
        "stop and take the copy back. With [too little patience](#stopping.patience=1) one falls for the first bump; "
        "with [very much](#stopping.patience=60) one pays for steps that are thrown away, but no more than that, "
        "because the copy is kept. When in doubt, be patient.",
        "Why does it work? A weight that starts near zero has not come far after a few steps. Stopping keeps it there, "
        "much as an L2 penalty would, and a run through the steps is a run through all strengths of it. That is also "
        "why it does less where something else already holds the weights: with "
        "[weight decay](#stopping.decay=3) the curves stay together longer, and the best step comes later. And a "
        "[network too small](#stopping.width=2) to learn the noise never turns at all: there stopping only costs.",
        "Two cautions. The validation rows have now been used to choose, so the error at the best step is a little too "
        "good to be true: keep a third set for the last word. And with few rows the curve itself is noisy; step "
        "through a few [samples](#stopping.seed=1) and see how far the best step moves.",
    ),
)
