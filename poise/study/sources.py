"""The kinds of data that a study can be of: this table is what a study, a saved model and `poise predict` look at."""

from __future__ import annotations

from poise.core.errors import CheckpointError, shown
from poise.study.source import Arguments, Source
from poise.study.source_images import ImageSource
from poise.study.source_own import OwnSource
from poise.study.source_table import TableSource
from poise.study.source_text import TextSource

__all__ = ["SOURCES", "kind_named", "kind_of", "source_of"]

SOURCES: tuple[type[Source], ...] = (
    OwnSource,
    ImageSource,
    TextSource,
    TableSource,  # the last: it takes whatever no other kind does
)
"""Every kind, in the order in which they are asked whether the data are theirs."""


def source_of(given: object, told: Arguments) -> Source:
    """Return the source that the first argument of a study is. Raises: ArgumentError, DataError."""
    kind = next(kind for kind in SOURCES if kind.takes(given, told))
    kind.check(told, SOURCES)
    return kind.of(given, told)


def kind_of(encoder: object) -> type[Source]:
    """Return the kind of data that an encoder is of."""
    return next(kind for kind in SOURCES if type(encoder) is kind.encoder)


def kind_named(name: object, where: str) -> type[Source]:
    """Return the kind that a saved model's manifest names. Raises: CheckpointError if there is none."""
    found = [kind for kind in SOURCES if kind.kind == name]
    if not found:
        raise CheckpointError(f"{where} holds a {shown(name)}, not a study's model.")
    return found[0]
