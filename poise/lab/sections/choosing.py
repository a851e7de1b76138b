"""Section 8: which technique, and how much of it."""

from __future__ import annotations

from poise.lab.section import Section, Show

__all__ = ["SECTION"]

SECTION = Section(
    id="choosing",
    title="Which one, and how much? Measure it",
    body=(
        """
By now there are many techniques, and each has a number to set. Reading does not tell which one your data need; an
experiment does. The honest one has three rules.

1. **Baseline first.** Train without any of it. If the gap between training and new rows is small, regularization
   has nothing to repair, and you need a larger network or better columns.
2. **One change at a time, in pairs.** Train twice with the same first weights, the same rows in the same order,
   with the part and without. The difference is then the part's, not the luck of the draw.
3. **Repeat.** One pair tells nothing of chance. Several give an interval; if it holds 0, say that you cannot tell.

The study below does so on [442 patients with diabetes](#which_one.table=diabetes&which_one.strength=1): four parts,
each tried alone (on the first panel), and each left out of the recipe of all four (on the second). Every dot is a
pair of networks. With [three pairs](#which_one.seeds=3) almost nothing can be said; with
[eight](#which_one.seeds=8) it can.
""",
        Show("which_one"),
        """
Each part helps when it is alone. All four together cannot be told from none: they do the same work, and four times
is too much. Leaving out dropout or decay is then an improvement. This is the usual way to go wrong with a list of
good advice. It depends on the [strength](#which_one.table=diabetes&which_one.strength=2.5) and on the table: on
[the table of wines](#which_one.table=wine&which_one.strength=1), where a plain network is nearly perfect, almost
nothing helps, and on [a made-up table of 160 rows](#which_one.table=made&which_one.strength=0.3) a mild recipe
does.

`poise study table.csv --target column` runs the whole of it on your own table: it searches strengths, measures the
gap before and after, and shows what each part was worth. Its report opens here too, with `poise lab`.

### Where everything acts

A training step is a pipeline: a batch is drawn, a loss computed, a gradient taken, the weights moved, and at the
end something decides when to stop and what predicts. Every technique is an edit at one or more of these places. The
table names them all; those [with a figure](#where_table.shown=true) are linked to it.
""",
        Show("where_table"),
    ),
)
