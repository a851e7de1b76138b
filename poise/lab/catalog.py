"""What a lab shows: the chapter and its figures, and the pages and figures of the user's own runs, as JSON data.

Used in the processes that compute, never in the server: it is these that read the user's files.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt

from poise.core.errors import ArgumentError, PoiseError, StudyError, shown
from poise.lab.base import Figure
from poise.lab.section import Section, Show

if TYPE_CHECKING:
    from poise.lab.runs import Library

__all__ = ["Catalog", "load"]

NO_RUN = "This run is not here any more. Go back to the list of your runs."
SENTENCES_SECONDS = 0.2  # that a page of runs may wait for what its figures say; the figures themselves come later


@dataclass(frozen=True)
class Catalog:
    """The figures of the chapter by id, its sections in reading order, and, once they are opened, the user's runs."""

    figures: Mapping[str, Callable[[], Figure]]
    sections: Sequence[Section]
    _library: Library | None = None
    _built: dict[str, Figure] = field(default_factory=dict)

    def with_runs(self, places: Sequence[str]) -> Catalog:
        """Return the catalog with the runs below some places. Raises: ArgumentError.

        Apart from the rest, as studies take three times as long to import as the chapter.
        """
        from poise.lab.runs import Library

        return replace(self, _library=Library(places))

    @property
    def library(self) -> Library:
        """The user's runs."""
        if self._library is None:
            raise StudyError("The lab is still opening your runs. Try again in a moment.")
        return self._library

    def figure(self, id: str, of: Sequence[str]) -> Figure:
        """Return a figure of the chapter (`of` is empty) or of runs, by their ids. Raises: ArgumentError."""
        if of:
            return self.library.figure(id, of)
        if id not in self.figures:
            raise ArgumentError(f"there is no figure {shown(id)}. There are {sorted(self.figures)}.")
        if id not in self._built:
            self._built[id] = self.figures[id]()
        return self._built[id]

    def chapter(self) -> dict[str, Any]:
        """Return the sections, their text as HTML, and the spec of every figure."""
        sections = [
            {"id": section.id, "title": section.title, "body": [_part(part) for part in section.body]}
            for section in self.sections
        ]
        return {"sections": sections, "figures": {id: self.figure(id, ()).spec() for id in self.figures}}

    def page(self, name: str, of: Sequence[str]) -> dict[str, Any]:
        """Return what a page of the user's runs says: "runs" (the list), "run" or "compare". Raises: StudyError."""
        if name == "runs":
            return {"lines": [asdict(line) for line in self.library.runs()], "cut": self.library.cut}
        page = self.library.page(of[0]) if name == "run" else self.library.comparison(of[0], of[1])
        if page is None:
            raise StudyError(NO_RUN)
        until = time.monotonic() + SENTENCES_SECONDS
        return {**asdict(page), "figures": {id: self._shown(id, of, until) for id in page.figures}}

    def live(self, of: Sequence[str]) -> bool:
        """Whether one of some runs may still change."""
        return self.library.live(of)

    def _shown(self, id: str, of: Sequence[str], until: float) -> dict[str, Any]:
        figure, sentence = self.figure(id, of), ""
        if time.monotonic() < until:
            try:
                sentence = figure.describe(figure.start(), figure.compute(figure.start()))
            except PoiseError as error:
                sentence = str(error)
        return {"spec": figure.spec(), "sentence": sentence}


def load(order: Mapping[str, Any]) -> Catalog:
    """Return the catalog of the module that `order` names, which has FIGURES and CHAPTER; `image` is the user's own."""
    source = importlib.import_module(order["source"])
    figures = dict(source.FIGURES)
    if order["image"] is not None:
        figures["augment"] = partial(figures["augment"], own=order["image"])
    return Catalog(figures, tuple(source.CHAPTER))


def _part(part: str | Show) -> dict[str, str]:
    return {"figure": part.figure} if isinstance(part, Show) else {"html": str(_markdown().render(part))}


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    # HTML in it stays text. Without images: a page asks nothing of another machine.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
