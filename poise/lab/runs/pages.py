"""What the pages of the user's runs say: texts only, made here, so that the templates have nothing to decide."""

from __future__ import annotations

import time
from dataclasses import dataclass

from poise.lab.runs.figures import figures_of, figures_of_two
from poise.lab.runs.record import RunRecord
from poise.study.figures_record import primary
from poise.study.figures_text import clean, cut, decimals_for, number

__all__ = ["ComparePage", "RunLine", "RunPage", "compare_page", "line_of", "page_of"]

STATUS = {
    "running": "running",
    "finished": "finished",
    "interrupted": "interrupted",
    "stopped": "stopped without a result",
    "unreadable": "cannot be read",
    "log": "log",
}
RECIPE_CAP = 64 * 1024


@dataclass(frozen=True)
class RunLine:
    """A run in the list. All are texts to be escaped; `status` is a key, `state` the words for it."""

    id: str
    name: str
    place: str
    kind: str
    status: str
    state: str
    changed: str
    finding: str
    gap: str
    score: str


@dataclass(frozen=True)
class RunPage:
    """The page of a run: its line, the whole finding, facts (label, text), words of warning, ids of figures, code."""

    line: RunLine
    finding: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    figures: tuple[str, ...]
    recipe: str
    receipt: str
    code: str
    live: bool


@dataclass(frozen=True)
class ComparePage:
    """The page of two runs."""

    lines: tuple[RunLine, RunLine]
    notes: tuple[str, ...]
    figures: tuple[str, ...]
    live: bool


def line_of(record: RunRecord) -> RunLine:
    """Return the line of a run in the list."""
    finding, gap, score = record.words, "", ""
    result = record.result
    if result is not None:
        finding = record.words or result.finding
        metric = primary(result)
        sides = [next((one for one in own if one.metric == metric.name), None) for own in (result.before, result.after)]
        known = [one for one in sides if one is not None]
        decimals = decimals_for(item for one in known for item in (one.train, one.test))
        gap = " → ".join(number(one.gap.value, decimals) for one in known)
        score = f"{metric.label} {number(known[-1].test.value, decimals)}" if known else ""
    elif record.status == "running" and not record.words:
        done = f"{len(record.trials):,} networks so far" if record.trials else "no network has ended yet"
        finding = f"Now: {record.phase or 'starting'}; {record.share:.0%} of its budget is spent; {done}."
    elif record.status == "stopped" and not record.words:
        finding = f"It ended without a result, after {len(record.trials):,} networks; what it tried is shown."
    elif record.kind == "log" and not record.words:
        names = ", ".join(one.name for one in record.curves[:6])
        finding = f"{names}, over {record.curves[0].across}" if record.curves else ""
    return RunLine(
        record.id,
        clean(cut(record.name, 80)),
        clean(cut(record.place, 160)),
        record.kind,
        record.status,
        STATUS[record.status],
        time.strftime("%Y-%m-%d %H:%M", time.localtime(record.changed)) if record.changed else "",
        clean(cut(finding, 400)),
        gap,
        score,
    )


def page_of(record: RunRecord) -> RunPage:
    """Return the page of a run."""
    result = record.result
    facts: list[tuple[str, str]] = []
    notes = [record.words] if record.words else []  # then not told as the finding too
    if result is not None:
        facts = [
            ("Table", result.table),
            ("Target", result.target),
            ("Task", result.task),
            ("Rows", ", ".join(f"{count:,} {name}" for name, count in result.rows.items())),
            ("Columns", f"{len(result.columns):,}"),
            ("Networks tried", f"{len(result.trials):,}"),
            ("Ensemble", f"{result.ensemble_size} networks"),
            ("Budget", f"{result.budget}, took {_duration(result.seconds)}"),
            ("Seed", str(result.seed)),
            ("Made with", ", ".join(f"{name} {version}" for name, version in result.versions.items())),
        ]
        notes += list(result.warnings[:20])
        if result.interrupted:
            notes.insert(0, "The study was interrupted; what it had found by then is shown.")
    elif record.kind == "study":
        labels = {"table": "Table", "target": "Target", "metric": "Metric", "budget": "Budget", "seed": "Seed"}
        facts = [(label, str(record.facts[key])) for key, label in labels.items() if key in record.facts]
        facts.append(("Networks tried", f"{len(record.trials):,}"))
        if record.status == "stopped":
            notes.append("It ended without a result: it was killed, or it still runs on another machine.")
    else:
        facts = [("Measures", ", ".join(one.name for one in record.curves))]
    line = line_of(record)
    finding = line.finding if result is None else clean(result.finding[:4000])
    shown = tuple((label, clean(cut(text, 300))) for label, text in facts if text)
    return RunPage(
        line,
        "" if record.words else finding,
        shown,
        tuple(clean(cut(note, 400)) for note in notes),
        figures_of(record),
        clean(result.recipe_yaml[:RECIPE_CAP]) if result is not None else "",
        clean(result.receipt[:RECIPE_CAP]) if result is not None else "",
        _code(record),
        record.status in ("running", "log"),
    )


def compare_page(first: RunRecord, second: RunRecord) -> ComparePage:
    """Return the page of two runs."""
    notes = []
    if first.result is not None and second.result is not None:
        if first.result.table != second.result.table or first.result.target != second.result.target:
            notes.append("The two studies are of different tables or targets: their scores are not comparable.")
        elif first.result.seed == second.result.seed:
            notes.append("Both studies divided the rows by the same seed: they were scored on the same test rows.")
    live = any(one.status in ("running", "log") for one in (first, second))
    return ComparePage((line_of(first), line_of(second)), tuple(notes), figures_of_two(first, second), live)


def _code(record: RunRecord) -> str:
    """Return how the found recipe and the model are used again."""
    if record.result is None or not record.source:
        return ""
    folder = record.source
    return (
        "from poise import Recipe\n"
        "from poise.study.model import load_model\n\n"
        f"recipe = Recipe.load({folder + '/recipe.yaml'!r})  # in a loop of your own: run = recipe.start(model)\n"
        f"model = load_model({folder!r})  # predictions = model.predict_frame(new_rows)\n"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
