"""What the commands say, on streams that may not take every letter."""

from __future__ import annotations

import sys
import warnings
from typing import Any, TextIO

from poise.core.errors import PoiseWarning

__all__ = ["say", "show_warning"]


def say(text: str, stream: TextIO, end: str = "\n") -> None:
    """Write a line."""
    # A stream in the C locale cannot take every name; an error message must not end in another error.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)


def show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Write a warning as `warnings.showwarning` is called: our own in one line."""
    own = issubclass(category, PoiseWarning)
    say(f"warning: {message}\n" if own else warnings.formatwarning(message, category, *place[:2]), sys.stderr, end="")
