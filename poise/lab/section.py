"""A section of the chapter: a claim as its heading, words, and the figures between them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Section", "Show"]


@dataclass(frozen=True)
class Show:
    """The place of a figure in the text."""

    figure: str


@dataclass(frozen=True)
class Section:
    """`body` holds paragraphs (Markdown without HTML) and figures in reading order.

    A link to `#poly.degree=12&poly.l2=0` sets the figure's controls in place: text and figure speak both ways.
    """

    id: str
    title: str
    body: tuple[str | Show, ...]
