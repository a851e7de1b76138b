"""Section 7: shared weights, tasks learned together, ensembles and snapshots."""

from __future__ import annotations

from poise.lab.section import Section, Show

__all__ = ["SECTION"]

SECTION = Section(
    id="combining",
    title="Sharing and combining: one weight for many places, one answer from many networks",
    body=(
        """
A penalty says what weights should look like. Sharing is stricter: it says that two weights *are the same number*. A
convolution looks for the same pattern at every place of a picture, with [the same three
weights](#sharing.kind=space&sharing.size=16&sharing.kernel=3&sharing.channels=1). Written out as a dense layer it
is a matrix with mostly zeros and the same few numbers on its diagonals; the dense layer beside it must learn each
of its numbers from the data.
""",
        Show("sharing"),
        """
The same idea works [over time](#sharing.kind=time&sharing.size=8&sharing.kernel=3&sharing.channels=3), where a
recurrence uses one set of weights at each step, and between [words going in and words coming
out](#sharing.kind=words&sharing.size=16&sharing.channels=6). Sharing is worth as much as the symmetry is true. On
200 digits moved about, the network without sharing had five times the loss of the convolution on new digits; on
digits that all stand in the middle it was the better one, because there a place tells something.
(`examples/sharing.py` prints both.)

### Tasks can share, if they are alike

One trunk can serve several tasks, with a small head for each. A task with few labels then learns from the labels of
the others. Whether that helps is a question to measure.
""",
        Show("multitask"),
        """
[Related helpers](#multitask.related=1&multitask.labels=60&multitask.width=3) act as more data. [Unrelated
ones](#multitask.related=0&multitask.labels=60&multitask.width=3) compete for the three units of the trunk and hurt.
With [twelve units](#multitask.related=0&multitask.labels=60&multitask.width=12) there is room for all, and even
unrelated tasks help a little: they keep the trunk from fitting the few labels too well.

### Several networks err less than one

Train several networks and take the mean of their answers. What they agree on stays, also their common mistakes;
what they disagree on averages out. If they shared nothing, [25 networks](#ensemble.members=25&ensemble.rows=own)
would have a 25th of the error of one.
""",
        Show("ensemble"),
        """
In practice there is one table. Networks that [see the same rows](#ensemble.members=25&ensemble.rows=same) make
nearly the same mistakes, and their mean is hardly better than one of them.
[Bagging](#ensemble.members=25&ensemble.rows=bagging) gives each a sample of the rows; each alone is a little worse,
and the mean is better.

Training 25 networks costs 25 times as much. *Snapshots* come from a single run: its learning rate falls to 0, jumps
up and falls again, and a copy is kept at each end.
""",
        Show("snapshots"),
        """
The mean of the snapshots is never worse than the snapshots are on average. Whether it beats [one long
run](#snapshots.cycles=1) of as many steps depends on the sample: step through a few.
""",
    ),
)
