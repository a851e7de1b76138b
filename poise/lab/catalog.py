"""What a lab shows: the chapter and its figures, and the pages and figures of the user's own runs, as data.

Used in the processes that compute, never in the server. A page is {"title", "body", "figures"}: the body is a list of
{"html": ...} (made here, from Markdown without HTML) and {"figure": key}; `figures` gives each key its {"of", "spec"}.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from poise.core.errors import ArgumentError, shown
from poise.lab.figure import Figure
from poise.lab.section import Section, Show

__all__ = ["Catalog", "html_of", "load", "quoted"]


@dataclass(frozen=True)
class Catalog:
    """The figures of the chapter by id, and its sections in reading order."""

    figures: Mapping[str, type[Figure]]
    sections: Sequence[Section]
    own: dict[str, Figure] = field(default_factory=dict)

    def figure(self, id: str, of: Sequence[Path]) -> Figure:
        """Return a figure of the chapter (`of` is empty) or of runs."""
        if of:
            from poise.lab import runs

            return runs.figure_of(id, of)
        if id not in self.figures:
            raise ArgumentError(f"there is no figure {shown(id)}. There are {sorted(self.figures)}.")
        return self.own.setdefault(id, self.figures[id]())

    def chapter_page(self) -> dict[str, Any]:
        """Return the sections with their text as HTML, and every figure's spec."""
        sections = [
            {
                "id": section.id,
                "title": section.title,
                "body": [
                    {"figure": part.figure} if isinstance(part, Show) else {"html": html_of(part)}
                    for part in section.body
                ],
            }
            for section in self.sections
        ]
        return {"sections": sections, "figures": {id: self.figure(id, ()).spec() for id in self.figures}}

    def page(self, name: str, of: Sequence[Path]) -> dict[str, Any]:
        """Return a page of the user's own runs: "runs" (of a folder), "run" or "compare"."""
        from poise.lab import runs

        page = runs.page_of(name, of)
        body = [part if isinstance(part, dict) else {"html": html_of(part)} for part in page["body"]]
        return {**page, "body": body}

    def runs(self, of: Sequence[Path]) -> list[dict[str, Any]]:
        """Return the runs below some paths: {"path", "name", ...} each."""
        from poise.lab import runs

        return runs.found(of)


def load(order: Mapping[str, Any]) -> Catalog:
    """Return the catalog of the module named in `order`, which has FIGURES and CHAPTER."""
    source = importlib.import_module(order["source"])
    return Catalog(dict(source.FIGURES), tuple(source.CHAPTER))


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    # Without images: a page asks nothing of another machine, and a study's name is no picture.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def html_of(text: str) -> str:
    """Return Markdown as HTML; HTML in it stays text."""
    return str(_markdown().render(text))


def quoted(text: str) -> str:
    """Return any text so that Markdown shows it as it is: names of studies and columns are data."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", re.sub(r"\s+", " ", text))
