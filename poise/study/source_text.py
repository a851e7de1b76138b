"""A study of a text, character by character."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd

from poise.core.errors import ArgumentError, shown
from poise.data.characters import CharacterEncoder
from poise.data.text import Text, holds_text, read_text
from poise.study.choices import Choices
from poise.study.prepare import Prepared
from poise.study.prepare_text import prepare_text
from poise.study.source import Arguments, NewRows, Source
from poise.study.text_network import TextDesign

__all__ = ["TextSource"]


@dataclass(frozen=True)
class TextSource(Source):
    """A text whose characters a network learns to predict."""

    text: Text
    design: TextDesign

    kind: ClassVar[str] = "text model"
    noun: ClassVar[str] = "a text"
    plural: ClassVar[str] = "texts"
    new: ClassVar[str] = "NEW.txt"
    arguments: ClassVar[frozenset[str]] = frozenset({"encoding", "characters", "network", "window", "width", "depth"})
    encoder: ClassVar[type[CharacterEncoder]] = CharacterEncoder
    designs: ClassVar[type[TextDesign]] = TextDesign
    folds: ClassVar[int | None] = 1  # a text goes on: what comes before a fold and after it is no other text

    @staticmethod
    def takes(given: object, told: Arguments) -> bool:
        """A `poise.data.text.Text`, or a file with a text's ending, if no target column and no delimiter is told."""
        return isinstance(given, Text) or holds_text(given, target=told.target, delimiter=told.delimiter)

    @classmethod
    def of(cls, given: Any, told: Arguments) -> Self:
        """Read the text."""
        text = given
        if not isinstance(given, Text):
            text = read_text(str(given), encoding=told.encoding, characters=told.characters)
        elif told.encoding is not None or told.characters is not None:
            raise ArgumentError("`Study.encoding` and `Study.characters` are for files; give them to `read_text`.")
        return cls(text, cls.designed(told))

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.text.name

    @property
    def choices(self) -> Choices:
        """The parts that fit the network."""
        return self.design.choices

    def prepare(self, seed: int) -> Prepared:
        """Divide the text and cut it into windows. Raises: DataError if it is too short."""
        return prepare_text(self.text, seed=seed, design=self.design)

    @classmethod
    def read_new(cls, path: str, encoder: CharacterEncoder, *, encoding: str | None, delimiter: str | None) -> NewRows:
        """Read another text, all of it, and say which of its characters are not known."""
        if delimiter is not None:
            raise ArgumentError(f"`--delimiter` is for tables; got {shown(delimiter)} with a text. Leave it out.")
        text = read_text(Path(path), encoding=encoding, characters=2**31).text
        unknown = sorted(set(text) - set(encoder.symbols))
        starts = range(0, len(text), encoder.window)
        note = f"{len(unknown)} characters are not in the vocabulary: {shown(''.join(unknown), 200)}" if unknown else ""
        return NewRows(text, pd.DataFrame({"start": list(starts)}), note=note)
