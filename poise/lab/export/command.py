"""`poise lab export`: the chapter, or one figure of it, as files that work without Python."""

from __future__ import annotations

import os
import sys

from poise.core.errors import ArgumentError, shown

__all__ = ["export"]


def export(word: str | None, out: str | None, figure: str | None) -> None:
    """Write the chapter to the folder `out`, or `figure` alone to the file `out`. Raises ArgumentError."""
    if word != "export":
        raise ArgumentError(f"`--out` is of `poise lab export`; got {shown(word)}. Write: poise lab export --out site/")
    if out is None:
        raise ArgumentError("`poise lab export` must have --out. Write: poise lab export --out site/")
    import torch

    torch.set_num_threads(1)  # small tensors; a second thread would only wait
    if figure is not None:
        from poise.lab.shown import figure as named

        if os.path.isdir(out):
            raise ArgumentError(f"`--out` must be a file for one figure; {shown(out)} is a folder. Add /{figure}.html.")
        named(figure).to_html(out)
        _say(f"{figure} is in {out}")
        return
    from poise.lab.export.site import export_site
    from poise.lab.shelf import CHAPTER, FIGURES

    page = export_site(out, FIGURES, CHAPTER, tell=_say)
    _say(f"Open {page}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
