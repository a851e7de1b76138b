"""The page of `search.py`: a table of times and losses, and the curves as SVG files."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["page"]

Ratios = Callable[[dict[str, Any]], dict[str, float]]

WIDE, HIGH, LEFT, TOP = 340, 190, 56, 34
ENDS = (1.0, 10.0, 60.0)
CURVES = (
    ("population", "ensemble", "poise, ensemble", "ours"),
    ("population", "alone", "poise, best single", "ours dash"),
    ("loops", "ensemble", "loops, ensemble", "theirs"),
    ("loops", "alone", "loops, best single", "theirs dash"),
)
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .soft { fill: #59636e } .title { font-weight: 600 }
.grid { stroke: #d1d9e0 } path { fill: none; stroke-width: 2 } .dash { stroke-dasharray: 5 3 }
.ours { stroke: #0969da } .theirs { stroke: #bc4c00 }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .soft { fill: #9198a1 } .grid { stroke: #3d444d }
.ours { stroke: #58a6ff } .theirs { stroke: #f0883e } }
</style>"""
HEAD = """\
# Time to a validation loss

poise's search against Optuna over plain torch loops, as `benchmarks/search.py` measures it: same network, space, folds,
full training, sampler (TPE), rungs and patience, in {jobs} processes of one thread each, {seconds:g} seconds an arm.
The clock of both starts when their processes are up. A configuration counts from the evaluation on at which the weights
that early stopping keeps for it have the loss; the ensemble is selected by the same code for both, at forty times.
What poise does besides: it trains populations, begins with a few fixed configurations, and finds out how long training
has to be. Measured on {machine}, torch {torch}, with a load of {loads} before each table.

```console
python -m benchmarks.search && python -m benchmarks.search --page
```

![Validation loss over time](images/search-validation.svg)

![Test loss over time](images/search-test.svg)

## How much sooner the loops' best validation loss is there

Their time to the lowest validation loss that they had, over poise's time to the same. *single*: of the best single
configuration of both; *ensemble against single*: until the ensemble, which a study gives, has the loss of their best
single configuration; *ensembles*: of both.
"""
READING = """
## How to read it

Twenty times sooner was the goal; it is not reached. What a study gives, an ensemble, has the loops' best single loss
eleven times sooner (2.2 to 71), a single configuration 4.5 times. It has the loss of an ensemble of what the loops
trained, selected by the same code, 8.5 times sooner, but on phoneme half as soon. At the end its validation loss is the
lower one on all six tables, its test loss on four. Four to nine times as many configurations are trained in the same
time. The lowest of hundreds of looks at the same validation rows is in part luck, which a goal of one number rewards.

It is one run a table, and such runs differ: of the loops, which had not changed, best single losses differ by up to
7 % (vehicle) from those of the run before. That run, in which a longer training was judged in another way (below),
gave 2.6, 15.2 and 0.9 times, the one before that 3.1, 12.5 and 3.7. So the medians tell the order of magnitude, and no
more.

A longer training used to stay where four configurations that were made again gained on the whole, each for itself. But
single networks may well be better for stopping short while their mean is not: four on phoneme went from losses of
0.289, 0.295, 0.300 and 0.310 to 0.298, 0.288, 0.302 and 0.295, and their mean from 0.284 to 0.272. Now the mean of
their answers decides. In eleven pairs of runs of 25 seconds (nine tables, two of them with two seeds) the ensemble's
validation loss was 0.9 % lower on the mean (4.4 lower to 0.2 higher, median 0), its test loss 0.2 % (2.0 lower to 1.5
higher, median 0). Studies of a minute on satimage, California housing and bike sharing were the same to 0.3 %; one on
phoneme had a test loss of 0.207 for 0.214.

A search used to train its brackets in waves: the sampler was told of a wave when the slowest worker was done, and of
a longer training all workers had to try at once. Now each worker's next bracket is proposed when its last one is
done, one bracket tries a longer training, and the first brackets are half as wide. Between the measurements before
and after that, on the same machine, configurations trained rose by 2 to 31 % (on concrete they fell by 3 %), the last
loss of the best single configuration fell on all six tables, and that of the ensemble on four; on the test rows the
ensemble's fell on two (by 1.6 and 2.7 %) and rose on four (by 0.8 to 1.9 %): one run each, whose ranges were a little
narrower then. Brackets of half the width throughout, a third bracket that waits for a free worker, and first brackets
of nothing but the fixed starts, trained without rungs, were tried on these tables for 30 seconds each: the first two
helped some and hurt others, the last had a higher loss after 16 seconds on five of six.

Beginning with half of the full training instead of a quarter was tried: on eleven tables (one run each) the ensemble's
validation loss was 1.7 % lower on the mean after 5 seconds, 0.6 after 10, 0.4 after 40. In studies of 60 seconds on the
twelve tables of [tables.md](tables.md) nothing was gained by it (median -0.1 %), and on vehicle the test loss was 9 and
2 % higher and 1 % lower in three pairs of runs. So a search begins with a quarter, unless the table has 6,000
rows and a look has trained configurations for both and seen that the whole is better. In studies of 60 seconds (one
run each) that took the log-loss on two divisions of electricity from 0.149 and 0.190 to 0.139 and 0.143; the errors on
two of California housing were 1.4 % higher by it, those on two of bike sharing 1.7 % lower and 2.0 % higher.

A study's search had 70 % of the time for search and retraining, whatever the table. Now one on 6,000 rows or more
leaves the retraining what this can use, and keeps 45 % in any case: with both changes, the log-loss of a study of 60
seconds on a division of electricity fell from 0.175 to 0.139, and the error on one of cpu_act from 2.04 to 2.02; on the
six divisions of California housing, bike sharing and adult losses rose by 0.1 to 0.5 %, once by 3.5 %. With 30 % there
was no time for a look: 0.204 on electricity, and on California housing 41,275 for 40,803. On fewer rows both changes
were tried too: over 18 divisions the loss was 0.1 % higher in the median (phoneme 6.6 and 0.8 % lower, student
performance 0.9 and 0.7 % higher), and with them everywhere poise's mean rank among the arms of tables.md was 2.1, not
1.7 as before (phoneme and satimage had their other two arms of poise run again too).

Letting the sampler learn from the best tenth of all trials rather than of the best and latest 64 was tried in seven
runs on four tables, and changed nothing beyond noise. Both ways train the same network. As studies do with a budget
in time, poise's search multiplied in bfloat16, the loops in float32. A study's look at structures before the search
is not in here, nor a number's own layer behind its bins.

A search begins with six configurations that a person wrote down. A learned choice is not better: 70 configurations
that searches found on the 14 tables of `tools/portfolio.py` were trained on each of these with other rows and seeds,
by networks with bins alone. On a table that the choice knew nothing of, the best of six chosen greedily stood at 0.43
on the way from the best of all to the median one, the best of six drawn blindly at 0.38, the best of the six by hand
at 0.32 (`python tools/portfolio.py --show`).
"""
PBT = """
Population-based training was compared with halving on three other tables, 64 trials each on one core: the best
validation loss was 0.929 against 0.924 (cmc), 0.0785 against 0.0747 (wdbc) and 0.0206 against 0.0166 (kr_vs_kp), for
1.5 times the steps. It stays an option: what it finds, a schedule of dials, halving cannot find. A retraining replays
the schedule; the recipe and the ablation show the dials of the kept step.
"""
PIECES = (
    ("rungs", "bracket", "after an eighth, a quarter and half of the full training, the better half of a bracket goes "
     "on; who has run out of patience, or is dropped, is cut out of the population"),
    ("lengths", "lengths", "the first brackets train for a quarter, or in full, on 6,000 rows or more, where a look "
     "saw that this is better; then one trains twice as long, with four of all ranks again under the same seeds: "
     "where the mean of their answers improves, those that follow train longer too, up to four times the full "
     "training if there is time; else it is tried again after twice as many brackets"),
    (
        "score",
        "look",
        "of classes, the loss after the temperature that suits the network best "
        "([why](study.md#how-sure-the-networks-are))",
    ),
    ("proposals", "sampler", "Optuna's TPE: a bracket as soon as another is done, from the best and the latest trials"),
    ("ensemble", "ensemble", "bagged greedy selection on held-out rows"),
    ("early end", "ending", "of a budget in time: where the ensemble's gain over four rounds, on ten parts of the "
     "held-out rows, is below its standard error, and a longer training, tried then, did not help"),
    ("`--search pbt`", "evolution", "instead of rungs: the worst quarter takes over weights and dials of the best, "
     "seven times in a training"),
)  # fmt: skip
TAIL = """
The early end is switched off in this measurement, so that the curves have the whole time. Validation losses are those
of the best of many looks at the same rows, and an ensemble is chosen on them too; the test curves say what is left.
"""


def page(rows: Sequence[dict[str, Any]], folder: Path, ratios: Ratios) -> None:
    """Write `search.md` and its figures from the rows of one setting; `ratios` says how much sooner poise was."""
    if not rows:
        return
    (folder / "images").mkdir(exist_ok=True)
    for column, name in ((1, "validation"), (2, "test")):
        (folder / "images" / f"search-{name}.svg").write_text(figure(rows, column, name))
    first = rows[0]
    loads = f"{min(row['load'] for row in rows):.1f} to {max(row['load'] for row in rows):.1f}"
    text = HEAD.format(
        loads=loads, jobs=first["jobs"], seconds=first["seconds"], machine=first["machine"], torch=first["torch"]
    )
    (folder / "search.md").write_text(
        "\n".join([text, *_times(rows, ratios), "", *_losses(rows), READING, *_pieces(), TAIL + PBT])
    )


def _times(rows: Sequence[dict[str, Any]], ratios: Ratios) -> list[str]:
    found = [ratios(row) for row in rows]
    pairs = list(found[0])
    lines = [
        f"| table | configurations, poise / loops | {' | '.join(pairs)} |",
        f"| --- | --: |{' --: |' * len(pairs)}",
    ]
    for row, own in zip(rows, found, strict=True):
        counts = f"{row['population']['configurations']} / {row['loops']['configurations']}"
        cells = [f"{own[name]:.1f}" if own[name] else "not reached" for name in pairs]
        lines.append(f"| {row['table']} | {counts} | {' | '.join(cells)} |")
    medians = [f"**{statistics.median(own[name] for own in found):.1f}**" for name in pairs]
    return [*lines, f"| median | | {' | '.join(medians)} |"]


def _losses(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "## Losses at the end",
        "",
        "| table | validation: poise single | ensemble | loops single | ensemble | test: poise single | ensemble "
        "| loops single | ensemble |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    order = [("population", "alone"), ("population", "ensemble"), ("loops", "alone"), ("loops", "ensemble")]
    for row in rows:
        ends = [row[arm][kind][-1] for arm, kind in order]
        cells = [f"{end[column]:.4f}" for column in (1, 2) for end in ends]
        lines.append(f"| {row['table']} | {' | '.join(cells)} |")
    return lines


def _pieces() -> list[str]:
    lines = ["## What the search does", "", "| piece | rule | code |", "| --- | --- | --- |"]
    return lines + [f"| {name} | {rule} | `poise/study/{file}.py` |" for name, file, rule in PIECES]


def figure(rows: Sequence[dict[str, Any]], column: int, name: str) -> str:
    """Draw a panel a table: losses against seconds on a logarithmic axis, as steps."""
    across, parts = 2, []
    for place, row in enumerate(rows):
        left, top = LEFT + (place % across) * (WIDE + 40), TOP + (place // across) * (HIGH + 56)
        parts += _panel(row, column, left, top)
    high = TOP + math.ceil(len(rows) / across) * (HIGH + 56)
    for place, (_, _, said, kind) in enumerate(CURVES):
        x = LEFT + place * 165
        parts.append(f'<path class="{kind}" d="M{x} {high}h26"/>')
        parts.append(_text(x + 32, high + 4, said))
    title = f"{name.capitalize()} loss against wall clock, lower is better"
    box = f'viewBox="0 0 {LEFT + across * (WIDE + 40)} {high + 20}" role="img" aria-label="{title}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', STYLE, *parts, "</svg>\n"])


def _panel(row: dict[str, Any], column: int, left: float, top: float) -> list[str]:
    courses = [(row[arm][kind], said, look) for arm, kind, said, look in CURVES]
    end = row["seconds"]
    begin = min(0.5, *(course[0][0] for course, _, _ in courses if course))
    values = [point[column] for course, _, _ in courses for point in course]
    low = min(values)
    # What the first seconds had is far off: the panel shows what happens near the end.
    lasts = [course[-1][column] for course, _, _ in courses]
    high = low + 4 * max(max(lasts) - low, 1e-3 * abs(low))
    width, height = WIDE - 30, HIGH - 24

    def x(seconds: float) -> float:
        return left + width * math.log(min(max(seconds, begin), end) / begin) / math.log(end / begin)

    def y(value: float) -> float:
        return top + 14 + height * (1 - (min(value, high) - low) / (high - low))

    parts = [_text(left, top, row["table"], kind="title")]
    for seconds in (*ENDS, end):
        if begin <= seconds <= end:
            parts.append(f'<line class="grid" x1="{x(seconds):.1f}" x2="{x(seconds):.1f}" y1="{top + 14}" '
                         f'y2="{top + 14 + height}"/>')  # fmt: skip
            if seconds == end or seconds < 0.7 * end:
                parts.append(_text(x(seconds), top + height + 30, f"{seconds:g} s", kind="soft", anchor="middle"))
    for value in (low, high):
        parts.append(_text(left - 6, y(value) + 4, f"{value:.3g}", kind="soft", anchor="end"))
    for course, said, look in courses:
        path = f"M{x(course[0][0]):.1f} {y(course[0][column]):.1f}"
        path += "".join(f"H{x(point[0]):.1f}V{y(point[column]):.1f}" for point in course[1:]) + f"H{x(end):.1f}"
        parts.append(f'<path class="{look}" d="{path}"><title>{escape(said)}</title></path>')
    return parts


def _text(x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'
