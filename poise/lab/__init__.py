"""The lab: figures that the library computes and a page, a notebook or a file draws.

`figure` is imported at its first use, so that `poise --help` starts without torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poise.lab.shown import ShownFigure, figure

__all__ = ["ShownFigure", "figure"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from poise.lab import shown

    return getattr(shown, name)
