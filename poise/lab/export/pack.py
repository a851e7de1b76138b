"""Many frame messages in one text: numbers of series as int16 with a stated error, words once, all of it compressed.

The layout, which `web/src/host-static.ts` reads: base64 of gzip of
  4 bytes, the length of the head, little endian; the head, JSON in UTF-8; the low bytes of all codes; their high bytes.
The head holds the first frame (`base`), every frame as its patch against it (`patches`), the facts of each array
[count, kind, low, step] and the long texts. In a frame, {"$a": i} is array i, {"$s": i} text i, and {"$c": [columns]} a
list of rows given by its columns. Codes follow each other by differences.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from poise.lab.patch import difference

__all__ = ["ERROR", "Packer", "unpacked"]

SHORT = 6  # numbers of a series that stay as they are
LONG = 160  # letters of a text that is stored once
SPAN = 65533  # codes between a series' lowest and highest number
OFFSET = 32766
NONE, ZERO = -32768, -32767
ERROR = "Coordinates are stored to 1/131,066 of each series' range; numbers in words are exact."
"""What a reader is told of the error."""
WIDE = 1000.0  # positive numbers whose range spans this factor are stored by their logarithm

Array = tuple[int, str, float, float]


class Packer:
    """Takes messages one by one; equal series and texts are stored once."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []
        self._codes: list[np.ndarray] = []
        self._array_at: dict[tuple[Any, ...], int] = {}
        self._texts: list[str] = []
        self._text_at: dict[str, int] = {}
        self._base: Any = None
        self._patches: list[Any] = []

    def add(self, message: dict[str, Any]) -> None:
        """Store the next frame."""
        found = self._skeleton(message)
        if self._base is None:
            self._base = found
        self._patches.append(difference(self._base, found))

    def text(self) -> str:
        """Return all frames as one text in ASCII."""
        head = {"base": self._base, "patches": self._patches, "arrays": self._arrays, "texts": self._texts}
        words = json.dumps(head, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        codes = np.concatenate(self._codes) if self._codes else np.zeros(0, np.uint16)
        planes = (codes & 255).astype(np.uint8).tobytes() + (codes >> 8).astype(np.uint8).tobytes()
        whole = len(words).to_bytes(4, "little") + words + planes
        return base64.b64encode(gzip.compress(whole, 9, mtime=0)).decode("ascii")

    # ---- within ----

    def _skeleton(self, value: Any) -> Any:
        if isinstance(value, str):
            return {"$s": self._text(value)} if len(value) > LONG else value
        if isinstance(value, dict):
            return {key: self._skeleton(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            if len(value) >= SHORT:
                if all(_is_number(item) for item in value):
                    return {"$a": self._array(value)}
                if columns := _columns(value):
                    return {"$c": [self._skeleton(column) for column in columns]}
            return [self._skeleton(item) for item in value]
        return value

    def _text(self, text: str) -> int:
        at = self._text_at.setdefault(text, len(self._texts))
        if at == len(self._texts):
            self._texts.append(text)
        return at

    def _array(self, values: Sequence[float | None]) -> int:
        fact, codes = _coded(values)
        key = (*fact, codes.tobytes())
        at = self._array_at.setdefault(key, len(self._arrays))
        if at == len(self._arrays):
            self._arrays.append(fact)
            self._codes.append(np.diff(codes.astype(np.int32), prepend=0).astype(np.uint16))
        return at


def _is_number(item: object) -> bool:
    return item is None or (isinstance(item, int | float) and not isinstance(item, bool))


def _columns(rows: Sequence[Any]) -> list[list[Any]]:
    """Return a list of equally long rows by its columns, an empty list for any other."""
    width = len(rows[0]) if isinstance(rows[0], list | tuple) else 0
    if not 1 <= width <= 64 or not all(isinstance(row, list | tuple) and len(row) == width for row in rows):
        return []
    return [list(column) for column in zip(*rows, strict=True)]


def _coded(values: Sequence[float | None]) -> tuple[Array, np.ndarray]:
    """Return how a series is stored ("linear" or "log", its lowest number, its step) and its codes, int16."""
    numbers = np.array([math.nan if value is None else float(value) for value in values])
    known = np.isfinite(numbers)
    kind, zero = "linear", np.zeros(len(numbers), bool)
    finite = numbers[known]
    positive = finite[finite > 0]
    if len(positive) and len(finite) and finite.min() >= 0 and positive.max() / positive.min() > WIDE:
        kind, zero = "log", known & (numbers == 0)
        known = known & ~zero
        numbers = np.where(known, np.log(np.where(known, numbers, 1.0)), np.nan)
        finite = numbers[known]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    whole = kind == "linear" and high - low <= SPAN and bool((finite == np.round(finite)).all())
    step = 1.0 if whole else (high - low) / SPAN
    if step == 0 or not math.isfinite(step):
        step = 1.0
    codes = np.full(len(numbers), NONE, np.int32)
    codes[known] = np.round((finite - low) / step).astype(np.int32) - OFFSET
    codes[zero] = ZERO
    return (len(numbers), kind, low, step), codes.astype(np.int16)


def unpacked(text: str) -> list[dict[str, Any]]:
    """Return the frames that a packed text holds: what the page shows."""
    from poise.lab.patch import apply

    whole = gzip.decompress(base64.b64decode(text))
    size = int.from_bytes(whole[:4], "little")
    head = json.loads(whole[4 : 4 + size])
    planes = np.frombuffer(whole[4 + size :], np.uint8).reshape(2, -1).astype(np.uint16)
    deltas = planes[0] | (planes[1] << 8)
    arrays, start = [], 0
    for count, kind, low, step in head["arrays"]:
        codes = np.cumsum(deltas[start : start + count], dtype=np.uint16).view(np.int16).astype(np.int64)
        start += count
        numbers = low + (codes + OFFSET) * step
        numbers = np.exp(numbers) if kind == "log" else numbers
        arrays.append(
            [None if c == NONE else 0.0 if c == ZERO and kind == "log" else float(n)
             for c, n in zip(codes, numbers, strict=True)]
        )  # fmt: skip

    def whole_of(value: Any) -> Any:
        if isinstance(value, list):
            return [whole_of(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$a" in value:
            return arrays[value["$a"]]
        if "$s" in value:
            return head["texts"][value["$s"]]
        if "$c" in value:
            return [list(row) for row in zip(*(whole_of(column) for column in value["$c"]), strict=True)]
        return {key: whole_of(item) for key, item in value.items()}

    return [whole_of(apply(head["base"], patch)) for patch in head["patches"]]
