"""From a text to the windows of codes that a character network reads, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from poise.core.errors import ArgumentError, DataError, shown

__all__ = ["START", "SYMBOL_CAP", "UNKNOWN", "CharacterEncoder", "check_window"]

UNKNOWN = 0
"""The code of a character that is not in the vocabulary."""

START = 1
"""The code that stands before a window's first character; it is never one to predict."""

SYMBOL_CAP = 1_000
"""Characters of a vocabulary; of more, the most frequent."""

_LEAST = 3  # times that a character occurs: from rarer ones the network learns what a character unknown to it is like


@dataclass(frozen=True)
class CharacterEncoder:
    """The vocabulary and the length of a window.

    `symbols` are the known characters, the most frequent first; their codes begin at 2, after those of an unknown
    character and of the start. A window is a stretch of `window` characters that shares none with its neighbours; the
    network is given a start and the window, and predicts each of its characters from what stands before it.

    >>> encoder = CharacterEncoder.fit("abba" * 3, window=4)
    >>> windows = encoder.windows("abca")
    >>> windows, encoder.inputs(windows)
    (array([[2, 3, 0, 2]]), array([[1, 2, 3, 0, 2]]))
    """

    symbols: str
    window: int

    @staticmethod
    def fit(text: str, window: int) -> CharacterEncoder:
        """Return the vocabulary of a text: the characters that occur three times or more, 1,000 at most.

        Raises: ArgumentError unless the window is an int >= 2; DataError if no two characters are that frequent.
        """
        check_window("CharacterEncoder", window)
        counts = Counter(text)
        known = [
            letter for letter, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count >= _LEAST
        ]
        if len(known) < 2:
            raise DataError(
                f"the text that is trained on has {len(known)} characters that occur {_LEAST} times or more; a study "
                "needs 2. Give a longer text."
            )
        return CharacterEncoder("".join(known[:SYMBOL_CAP]), window)

    @property
    def size(self) -> int:
        """The number of codes: the known characters, unknown, and start."""
        return len(self.symbols) + 2

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {letter: place + 2 for place, letter in enumerate(self.symbols)}

    def encode(self, text: str) -> np.ndarray:
        """Return the codes (n,) int64 of a text's characters."""
        codes = self._codes
        return np.fromiter((codes.get(letter, UNKNOWN) for letter in text), np.int64, len(text))

    def decode(self, codes: np.ndarray) -> str:
        """Return the text of codes; an unknown character is the replacement character U+FFFD, a start is nothing."""
        letters = ["�", "", *self.symbols]
        return "".join(letters[code] for code in codes.tolist())

    def windows(self, text: str, *, whole: bool = True) -> np.ndarray:
        """Return a text's windows (N, window) of codes; what fills none at its end is left out.

        Without `whole` it is kept, followed by starts, which are no characters to predict.
        """
        codes = self.encode(text)
        if whole:
            return codes[: len(codes) // self.window * self.window].reshape(-1, self.window)
        filled = -(-len(codes) // self.window) * self.window
        return np.pad(codes, (0, filled - len(codes)), constant_values=START).reshape(-1, self.window)

    def inputs(self, windows: np.ndarray) -> np.ndarray:
        """Return what the network is given (N, window + 1): the start, then the window."""
        return np.concatenate([np.full((len(windows), 1), START, np.int64), windows], axis=1)

    def transform(self, text: object) -> np.ndarray:
        """Return what the network is given of a text, (N, window + 1). Raises: DataError for none, or an empty one."""
        if not isinstance(text, str):
            raise DataError(f"a study of text predicts a str; got {shown(text)}. Read the file first.")
        if not text:
            raise DataError("the text is empty: there is nothing to predict.")
        return self.inputs(self.windows(text, whole=False))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what `from_state` takes: plain facts, and no arrays."""
        return {"symbols": self.symbols, "window": self.window}, {}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> CharacterEncoder:
        """Return the encoder that `state` told of. Raises: ValueError for a vocabulary that no fit returns."""
        symbols, window = str(facts["symbols"]), int(facts["window"])
        if len(set(symbols)) != len(symbols) or not 2 <= len(symbols) <= SYMBOL_CAP or window < 2:
            raise ValueError("the vocabulary or the window is none that a fit makes")
        return cls(symbols, window)


def check_window(owner: str, window: object) -> None:
    """Raise ArgumentError unless a window's length can be trained on."""
    if isinstance(window, bool) or not isinstance(window, int) or not 2 <= window <= 1024:
        raise ArgumentError(f"`{owner}.window` must be an int in 2 .. 1024, characters; got {shown(window)}.")
