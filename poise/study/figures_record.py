"""What a figure of the report is: a claim, its drawings, a caption and the same numbers as a table."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from poise.study.figures_text import MISSING, number, span
from poise.study.result import Interval, Metric, StudyResult

__all__ = ["Figure", "Panel", "Table", "cell", "labels", "named", "primary", "range_cell"]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; the first cell of a row names it."""

    head: tuple[str, ...]
    rows: tuple[tuple[str | Markup, ...], ...]


@dataclass(frozen=True)
class Panel:
    """One drawing with its own small heading."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class Figure:
    """A section of the report; `missing` says why there is nothing to draw, where that is so."""

    name: str
    claim: str
    intro: str
    panels: tuple[Panel, ...]
    caption: tuple[str, ...]
    table: Table | None
    missing: str = ""
    key: tuple[tuple[str, str], ...] = ()  # (mark, meaning) pairs, for marks that cannot be labelled in place
    more: tuple[Panel, ...] = ()  # drawings that follow under a heading of their own
    more_title: str = ""


def cell(value: float, decimals: int = 3) -> Markup:
    """Return the rounded number with the exact one beside it for machines."""
    return Markup('<data value="{!r}">{}</data>').format(value, number(value, decimals))


def range_cell(interval: Interval | None, decimals: int = 3) -> Markup:
    """Return the estimate and, smaller, its interval."""
    if interval is None:
        return Markup("{}").format(MISSING)
    form = '<span><data value="{!r}">{}</data> <span class="range">{}</span></span>'
    return Markup(form).format(interval.value, number(interval.value, decimals), span(interval, decimals))


def primary(result: StudyResult) -> Metric:
    """Return the metric that the search minimises; a stand-in where the record names none."""
    for metric in result.metrics:
        if metric.primary:
            return metric
    return result.metrics[0] if result.metrics else Metric("score", "score", lower_is_better=True, primary=True)


def named(result: StudyResult, name: str) -> Metric:
    """Return the metric of that name; one with the name as its label where the record does not declare it."""
    declared = {metric.name: metric for metric in result.metrics}
    return declared.get(name, Metric(name, name.replace("_", " "), lower_is_better=True, primary=False))


def labels(metric: Metric) -> str:
    """Return which way the metric is better, in words."""
    return "lower is better" if metric.lower_is_better else "higher is better"
