"""What a page may say to the server: the messages as records, checked against their schema before anything is done."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from poise.lab.controls import State
from poise.lab.server.limits import MESSAGE_BYTES, MESSAGE_DEPTH

__all__ = ["Act", "Action", "Close", "Message", "MessageError", "Open", "Set", "parsed"]

Action = Literal["play", "pause", "step", "reset"]  # of the play bar
KEY = re.compile(r"[a-z0-9_-]{1,64}")
FIGURE = re.compile(r"[a-z0-9_-]{1,64}")
RUN = re.compile(r"[a-z0-9]{8,32}")
CONTROL = re.compile(r"[A-Za-z0-9_]{1,64}")
CONTROLS = 64
RUNS = 8
TEXT = 256  # characters of a value
LARGEST = 2**53  # the whole numbers that JavaScript has


class MessageError(Exception):
    """A message that no page of ours sends: the connection is closed."""


@dataclass(frozen=True)
class Open:
    """Show a figure."""

    key: str
    figure: str
    of: tuple[str, ...]
    state: State


@dataclass(frozen=True)
class Set:
    """Show it for other values."""

    key: str
    id: int
    state: State


@dataclass(frozen=True)
class Act:
    """Play, pause, step or reset its run."""

    key: str
    id: int
    action: Action


@dataclass(frozen=True)
class Close:
    """Show it no more."""

    key: str


Message = Open | Set | Act | Close  # what a client may send
FIELDS = {
    "open": {"op", "key", "figure", "of", "state"},
    "set": {"op", "key", "id", "state"},
    "close": {"op", "key"},
    **{action: {"op", "key", "id"} for action in get_args(Action)},
}


def parsed(text: str) -> Message:
    """Return a message. Raises: MessageError."""
    if len(text.encode("utf-8", "surrogatepass")) > MESSAGE_BYTES:
        raise MessageError(f"more than {MESSAGE_BYTES} bytes")
    if _depth(text) > MESSAGE_DEPTH:
        raise MessageError(f"nested more than {MESSAGE_DEPTH} deep")
    try:
        data = json.loads(text, parse_constant=_no_number, parse_int=_integer, object_pairs_hook=_object)
    except ValueError as error:
        raise MessageError("no JSON") from error
    if not isinstance(data, dict) or not isinstance(data.get("op"), str):
        raise MessageError("no message")
    fields = FIELDS.get(data["op"])
    if fields is None or data.keys() != fields:
        raise MessageError("no such message")
    key = _matching(KEY, data["key"])
    match data["op"]:
        case "open":
            of = data["of"]
            if not isinstance(of, list) or len(of) > RUNS:
                raise MessageError("`of` must be a list of run ids")
            runs = tuple(_matching(RUN, run) for run in of)
            return Open(key, _matching(FIGURE, data["figure"]), runs, _state(data["state"]))
        case "set":
            return Set(key, _id(data["id"]), _state(data["state"]))
        case "close":
            return Close(key)
        case action:
            return Act(key, _id(data["id"]), action)


def _depth(text: str) -> int:
    """Return how deep brackets are nested, or an upper bound that is small enough."""
    most = text.count("[") + text.count("{")
    return most if most <= MESSAGE_DEPTH else _nesting(text)


def _nesting(text: str) -> int:
    deepest = depth = 0
    in_text = escaped = False
    for letter in text:
        if in_text:
            in_text = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            in_text = True
        elif letter in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "]}":
            depth -= 1
    return deepest


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _integer(digits: str) -> int:
    if len(digits) > 17:
        raise ValueError("a number too large")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice in one object")
    return found


def _matching(pattern: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise MessageError("a name is not as it must be")
    return value


def _id(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise MessageError("`id` must be a whole number")
    return value


def _state(values: object) -> State:
    if not isinstance(values, dict) or len(values) > CONTROLS:
        raise MessageError("`state` must be an object of values")
    return {_matching(CONTROL, name): _value(value) for name, value in values.items()}


def _value(value: object) -> float | int | bool | str:
    match value:
        case bool():
            return value
        case str() if len(value) <= TEXT and "\0" not in value:
            return value
        case int() if abs(value) <= LARGEST:
            return value
        case float() if math.isfinite(value):  # 1e999 is read as inf
            return value
    raise MessageError("a value must be a number, a text, true or false")
