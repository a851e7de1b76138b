"""The exceptions of the project; each says which argument, column or file, the rule, the value, and what to do."""

import reprlib

__all__ = [
    "ArgumentError",
    "CheckpointError",
    "DataError",
    "PoiseError",
    "PoiseWarning",
    "StudyError",
    "counted",
    "shown",
]


class PoiseError(Exception):
    """Base of every error that poise raises on purpose."""


class ArgumentError(PoiseError, ValueError):
    """An argument is outside its declared range, or two arguments contradict each other."""


class DataError(PoiseError, ValueError):
    """A table, a column or a target cannot be used as it is."""


class StudyError(PoiseError):
    """A study cannot start, go on, or be read."""


class CheckpointError(PoiseError):
    """A saved model or state is damaged, foreign, or from another version."""


class PoiseWarning(UserWarning):
    """Something works but is probably not what the user meant."""


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: "1 network", "5 networks"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shown(value: object, limit: int = 80) -> str:
    """Return `repr(value)` cut to `limit` characters, for messages that must stay readable."""
    # Containers only to a depth: lists that share lists (YAML aliases) would print 2^depth times.
    few = reprlib.Repr()
    few.maxlevel, few.maxstring, few.maxother = 4, 80, 80
    few.maxlist = max(few.maxlist, limit // 13)  # six, or of names as many as there may be room for
    try:
        text = few.repr(value) if isinstance(value, (dict, list, tuple, set, frozenset)) else repr(value)
    except ValueError:  # an int of more digits than Python prints
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= limit else text[: limit - 3] + "..."
