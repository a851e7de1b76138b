"""The study's report: one HTML file that asks the network for nothing, and the terminal's closing text."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from poise.study.atomic import write_text_atomic
from poise.study.figures import arms_figure, best_arm, gap_figure
from poise.study.figures_answers import answers_figure, pictures_figure
from poise.study.figures_curves import curves_figure
from poise.study.figures_parts import contributions_figure, ranked
from poise.study.figures_record import Table, labels, named, primary
from poise.study.figures_search import search_figure
from poise.study.figures_strengths import strengths_figure
from poise.study.figures_targets import leading, targets_table, together_figure
from poise.study.figures_text import clean, cut, decimals_for, listing, number, signed, span, width
from poise.study.result import Gap, StudyResult

__all__ = ["summary", "write_report"]

COLUMNS = 78
USES = {
    "train": "fits the weights",
    "stop": "says when to stop and which step's weights to keep",
    "validation": "chooses the recipe and measures its parts",
    "test": "untouched until the recipe was chosen",
}
LISTED_PARTS, LISTED_WARNINGS = 8, 4
LEAST_DECIMALS = {"r2": 2}  # of a share of 1, however wide its interval


def write_report(result: StudyResult, path: Path) -> None:
    """Write the study as one self-contained HTML file; equal results give equal bytes.

    The file appears whole or not at all: it is written beside its place and then moved there.
    Every name in the record is data from elsewhere and is escaped; the page also forbids all scripts and requests.
    """
    write_text_atomic(Path(path), _page(result))


def _page(result: StudyResult) -> str:
    environment = Environment(
        loader=PackageLoader("poise.study", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    figures = {
        figure.name: figure
        for figure in (
            gap_figure(result),
            contributions_figure(result),
            strengths_figure(result),
            curves_figure(result),
            arms_figure(result),
            answers_figure(result),
            pictures_figure(result),
            search_figure(result),
            together_figure(result),
        )
    }
    return environment.get_template("report.html.j2").render(
        result=result,
        figures=figures,
        tiles=_tiles(result),
        rows=_rows(result),
        columns=Table(("column", "kind"), tuple(result.columns.items())),
        kinds=_kinds(result),
        targets=targets_table(result),
        metric=primary(result),
        duration=_duration(result.seconds),
        facts=_facts(result),
        chance=1 - 0.95 ** len(result.contributions),
        cut=cut,
    )


def _tiles(result: StudyResult) -> list[tuple[str, str, str, str]]:
    """Return (label, before, after, note) of the numbers that lead the page."""
    metric = primary(result)
    before = next((gap for gap in result.before if gap.metric == metric.name), None)
    after = next((gap for gap in result.after if gap.metric == metric.name), None)
    if before is None or after is None or not math.isfinite(before.gap.value + after.gap.value):
        return []
    pairs = ((f"gap in {metric.label}", before.gap, after.gap), (f"test {metric.label}", before.test, after.test))
    tiles = []
    for label, old, new in pairs:
        decimals = decimals_for([new])
        note = f"now {span(new, decimals)}" + ("" if label.startswith("gap") else f"; {labels(metric)}")
        tiles.append((label, number(old.value, decimals), number(new.value, decimals), note))
    return tiles


def _rows(result: StudyResult) -> Table:
    total = sum(result.rows.values())
    shares = ((name, count, 100 * count / total if total else 0.0) for name, count in result.rows.items())
    form = '<data value="{}">{}</data>'
    return Table(
        ("part", "rows", "share", "use"),
        tuple(
            (name, Markup(form).format(count, f"{count:,}"), f"{share:.0f} %", USES.get(name, ""))
            for name, count, share in shares
        ),
    )


def _kinds(result: StudyResult) -> list[tuple[str, int]]:
    kinds = list(result.columns.values())
    return [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)]


def _facts(result: StudyResult) -> Table:
    rows = [("budget", result.budget), ("time used", _duration(result.seconds)), ("seed", str(result.seed))]
    return Table(("what", "value"), (*rows, *result.versions.items()))


def _duration(seconds: float) -> str:
    """Return seconds as people say them: 8.4 s, 4 min 12 s, 2 h 05 min."""
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


# ---- the terminal ----


def summary(result: StudyResult) -> str:
    """Return the closing text for the terminal: the finding, the gap, the parts, the arms; at most 78 columns wide."""
    kind = f"{len(result.classes)} classes" if result.task == "classification" else result.task
    kind = f"{len(result.targets)} targets" if result.targets else kind
    blocks = [
        [cut(f"poise study of {result.table}: {result.target} ({kind}), {_duration(result.seconds)}", COLUMNS)],
        _interruption(result),
        _wrapped(result.finding),
        _wrapped(result.structure),
        _wrapped(result.early),
        _wrapped(result.longer),
        _warning_lines(result),
        _gap_lines(result),
        _part_lines(result),
        _together_lines(result),
        _arm_lines(result),
    ]
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block) + "\n"


def _interruption(result: StudyResult) -> list[str]:
    return _wrapped("Interrupted: these are the results so far, not a finished study.") if result.interrupted else []


def _warning_lines(result: StudyResult) -> list[str]:
    """Return the first warnings, cut to some lines each: a column that gives the target away belongs to the scores."""
    before = (result.structure, result.early, result.longer)  # have lines of their own
    own = [warning for warning in result.warnings if warning not in before]
    told = own[:LISTED_WARNINGS]
    more = [f"{len(own) - len(told)} more are in the report."] if len(own) > len(told) else []
    return [line for warning in told for line in _wrapped(f"Warning: {cut(warning, 220)}")] + more


def _wrapped(text: str, columns: int = COLUMNS) -> list[str]:
    """Return the text in lines that are no wider than asked, wide letters counted as two."""
    line = " ".join(clean(text).split())
    return textwrap.wrap(line, columns if width(line) <= len(line) else columns // 2)


def _ascii(text: str) -> str:
    return text.replace("−", "-")


def _columns(rows: Iterable[tuple[str, ...]], first: int) -> list[str]:
    """Return the rows as aligned lines: names to the left, at most `first` wide, numbers to the right."""
    if not (table := [(cut(row[0], first), *(_ascii(item) for item in row[1:])) for row in rows]):
        return []
    sizes = [max(width(row[at]) for row in table) for at in range(len(table[0]))]
    lines = []
    for row in table:
        name = row[0] + " " * (sizes[0] - width(row[0]))
        numbers = "".join(
            "  " + " " * (size - width(item)) + item for item, size in zip(row[1:], sizes[1:], strict=True)
        )
        lines.append(_held("  " + name + numbers))
    return lines


def _held(line: str) -> str:
    """Return the line cut to the terminal's width without joining its runs of spaces."""
    while width(line) > COLUMNS:
        line = line[:-2] + "…"
    return line


def _gap_lines(result: StudyResult) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "train", "validation", "test", "gap")]
    ranges = [""]
    sides: list[tuple[str, Gap]] = [("before", gap) for gap in result.before] + [("after", gap) for gap in result.after]
    for name in dict.fromkeys(gap.metric for _, gap in sides):
        found = [(side, gap) for side, gap in sides if gap.metric == name]
        decimals = decimals_for(item for _, gap in found for item in (gap.train, gap.validation, gap.test))
        for side, gap in found:
            scores = (number(item.value, decimals) for item in (gap.train, gap.validation, gap.test))
            label = cut(named(result, name).label, 17)
            rows.append((f"{label} {side}", *scores, number(gap.gap.value, decimals)))
            ranges.append(f" ({span(gap.gap, decimals)})")
    if len(rows) == 1:
        return ["The gap between train and test was not measured."]
    lines = [line + _ascii(ends) for line, ends in zip(_columns(rows, 24), ranges, strict=True)]
    if max(map(width, lines)) > COLUMNS:  # the table of the report has the intervals
        lines = _columns(rows, 24)
    return ["The gap between train and test, before and after (95 %):", *lines]


def _part_lines(result: StudyResult) -> list[str]:
    parts = ranked(result.contributions)
    if not parts:
        return ["What each part contributed was not measured."]
    decimals = decimals_for(item.leave_out for item in parts)
    felt = [item for item in parts if item.verdict in ("helps", "hurts")]
    rows = [
        (item.part, signed(item.leave_out.value, decimals), f"({span(item.leave_out, decimals)})", item.verdict)
        for item in felt[:LISTED_PARTS]
    ]
    lines = [f"{line}  {row[3]}" for line, row in zip(_columns([row[:3] for row in rows], 22), rows, strict=True)]
    rest = {"more": [item.part for item in felt[LISTED_PARTS:]]}
    rest["none, but helpful alone"] = [item.part for item in parts if item.verdict == "replaceable"]
    for verdict in ("no measurable effect", "not measured"):
        rest[verdict] = [item.part for item in parts if item.verdict == verdict]
    for title, names in rest.items():
        lines += ["  " + line for line in _wrapped(f"{title}: {listing(names)}", COLUMNS - 2)] if names else []
    return [cut(f"What leaving a part out costs in validation {primary(result).label} (95 %):", COLUMNS), *lines]


def _together_lines(result: StudyResult) -> list[str]:
    rows = []
    for item in result.together:
        decimals = decimals_for([item.gain])
        gain = signed(item.gain.value, decimals), f"({span(item.gain, decimals)})"
        verdict = item.verdict if item.verdict in ("helps", "hurts") else "not measurable"
        rows.append((f"{item.target}: {item.metric.label}", *gain, verdict))
    if not rows:
        return ["Whether learning the targets together helped was not measured."] if result.targets else []
    lines = [
        _held(f"{line}  {row[3]}") for line, row in zip(_columns([row[:3] for row in rows], 24), rows, strict=True)
    ]
    return ["What learning each target alone costs on the test part (95 %, over seeds):", *lines]


def _arm_lines(result: StudyResult) -> list[str]:
    if not result.arms:
        return ["No baseline was compared."]
    metrics = [metric for metric in leading(result) if best_arm(result.arms, metric) is not None][:3]
    best = {metric.name: best_arm(result.arms, metric) for metric in metrics}
    room = 18 if len(metrics) < 3 else 13
    rows: list[tuple[str, ...]] = [("", *(cut(metric.label, room) for metric in metrics), "seconds")]
    for arm in result.arms:
        values = {score.metric: score.value for score in arm.scores}
        texts = []
        for metric in metrics:
            every = [score.value for other in result.arms for score in other.scores if score.metric == metric.name]
            decimals = max(decimals_for(every), LEAST_DECIMALS.get(metric.name, 0))
            text = number(values[metric.name].value, decimals) if metric.name in values else "-"
            first = best[metric.name]
            texts.append(text + ("*" if first is not None and first[0] is arm else " "))
        rows.append((arm.name, *texts, number(arm.seconds, 1)))
    lines = _columns(rows, 26)
    return ["On the test part (* best):", *(re.sub(r"\s+$", "", line) for line in lines)]
