"""Section 1: what overfitting is."""

from __future__ import annotations

from poise.lab.section import Section, Show

__all__ = ["SECTION"]

SECTION = Section(
    "fitting",
    "Fitting too well: a small error on known data is not the goal",
    (
        "Everyone who has learned answers by heart knows the trouble: perfect on the old exam, lost in the new one. "
        "A model can do the same. Give it enough freedom and it will pass through every point that it is shown, with "
        "the noise and all. What we want is something else: a small error on points that it has **not** seen.",
        "The distance between these two errors is the **gap**. Every method in this chapter is a change to training "
        "that tries to make the gap smaller without losing more than it gains. That is all that the word "
        "*regularization* means.",
        "Below, sixteen points come from the dashed curve, with some noise. A polynomial is fitted to them. With "
        "[degree 1](#poly.degree=1) it is too stiff: both errors are large, and the gap is small. With "
        "[degree 4](#poly.degree=4) it is about right. With [degree 12](#poly.degree=12) it comes close to every point "
        "and swings wildly between them: a small error here, a huge one on new points.",
        Show("poly"),
        "There are two ways out. The first is **less freedom**: a lower degree. The second is to keep the freedom but "
        "make it cost something, or stop before all of it is used. Try it at degree 12: a "
        "[little L2](#poly.degree=12&poly.l2=0.01), a [little L1](#poly.degree=12&poly.l1=0.05), "
        "[early stopping](#poly.degree=12&poly.stopping=true), or "
        "[noise in x](#poly.degree=12&poly.jitter=0.08). Each takes the swings away. The error on the known points "
        "rises a little every time, and the error on new ones falls a lot. That trade is what you pay for.",
        "Not everything helps everywhere. [Bagging alone](#poly.degree=12&poly.bagging=true), the mean of fits to "
        "points drawn anew, makes this fit worse: each of the ten has even fewer different points to hold on to, and a "
        "mean of wild curves is a wild curve. And nothing beats more data: with "
        "[sixty points](#poly.degree=12&poly.points=60) degree 12 needs no help at all.",
    ),
)
