"""A figure at hand: in a notebook it shows itself, in a script it gives its frames, and it writes itself to a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from poise.core.errors import ArgumentError, shown
from poise.lab.base import Figure
from poise.lab.controls import State
from poise.lab.scene import Frame

__all__ = ["ShownFigure", "figure"]

INLINE = {"frames": 300, "megabytes": 1.0, "seconds": 3.0}  # of a figure that a cell shows without the widget
BESIDE = {"frames": 12, "megabytes": 0.2, "seconds": 0.5}  # of what is kept beside a widget, for when no kernel answers
HEIGHT = 760  # CSS pixels of such a cell


def figure(name: str, *runs: object) -> ShownFigure:
    """Return a figure of the chapter by its id, or one of a run, or of two runs to compare.

    `name`: "poly", "weights", "dropout", ... With a run: "stopping" (its losses), "gap", "ablation", "strength",
    "weights", "population", "arms"; with two: "compare-loss", "compare-scores", "compare-recipes". A run is a `Study`
    or its result, a `Run` or its `history`, a module (its weights), a study's folder, or a log's path.

    Raises: ArgumentError for a name that there is not, or that the run has no data for.

    >>> figure("stopping", [{"step": 1, "train_loss": 2.0, "val_loss": 3.0}]).sentence()
    'Validation is lowest at step 1, where it is 3.'
    """
    if runs:
        from poise.lab.runs import run_of
        from poise.lab.runs.figures import figure_of

        return ShownFigure(figure_of(name, [run_of(run) for run in runs]))
    from poise.lab.figures import FIGURES

    if not isinstance(name, str) or name not in FIGURES:
        raise ArgumentError(
            f"`figure.name` must be one of {sorted(FIGURES)}; got {shown(name)}. A figure of a run needs the run: "
            "figure('stopping', run)."
        )
    return ShownFigure(FIGURES[name]())


class ShownFigure:
    """A figure with its controls; it shows itself at the end of a cell of Jupyter or marimo.

    With the extra `notebook` it is a widget, whose sliders ask this Python; without, a page of stored frames.
    """

    def __init__(self, drawn: Figure) -> None:
        self.drawn = drawn
        self._widget: Any = None

    @property
    def title(self) -> str:
        """What the figure claims."""
        return str(self.drawn.spec()["title"])

    @property
    def controls(self) -> dict[str, object]:
        """The controls' names with their starting values."""
        return dict(self.drawn.start())

    def frame(self, **controls: object) -> Frame:
        """Return what the figure shows with some controls moved; its `numbers` are those under the picture."""
        return self.drawn.compute(self._state(controls))

    def frames(self, **controls: object) -> Iterator[Frame]:
        """Yield the frames of a run, for a figure that plays one; one frame for any other."""
        return self.drawn.stream(self._state(controls))

    def sentence(self, **controls: object) -> str:
        """Return the frame in one sentence."""
        state = self._state(controls)
        return self.drawn.describe(state, self.drawn.compute(state))

    def code(self, **controls: object) -> str:
        """Return a script that computes the frame's numbers."""
        return self.drawn.code(self._state(controls))

    def to_html(
        self, path: str | Path | None = None, *, frames: int = 5000, megabytes: float = 3.0, seconds: float = 30.0
    ) -> str:
        """Return the figure as one HTML file with its sliders alive, and write it if a path is given.

        The file asks nothing of a server or the network. It holds a grid of frames: at most `frames`, within
        `megabytes`, computed in about `seconds`; what had to be left out is said in it.

        Raises: ArgumentError for a limit that is not above 0; StudyError if the file cannot be written.
        """
        from poise.lab.export import Limits, page_html, stored

        for name, value in (("frames", frames), ("megabytes", megabytes), ("seconds", seconds)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ArgumentError(f"`to_html.{name}` must be a number above 0; got {shown(value)}.")
        text = page_html(stored(self.drawn, Limits(int(frames), int(megabytes * 1e6), float(seconds))))
        if path is not None:
            from poise.study.atomic import write_text_atomic

            write_text_atomic(Path(path), text)
        return text

    def widget(self) -> Any:
        """Return the widget, the same one at every call. Raises ArgumentError without the extra `notebook`."""
        if importlib.util.find_spec("anywidget") is None:
            raise ArgumentError("`figure.widget` needs anywidget. Install it: pip install 'poise[notebook]'")
        if self._widget is None:
            from poise.lab.widget import LabWidget

            self._widget = LabWidget(self.drawn)
        return self._widget

    # ---- how notebooks show it ----

    def _repr_html_(self) -> str:
        return self._framed(INLINE)

    def _framed(self, limits: Mapping[str, float]) -> str:
        page = self.to_html(**limits)  # type: ignore[arg-type]  # the path is not among them
        style = f"width:100%;height:{HEIGHT}px;border:0"
        return f'<iframe title="{escape(self.title)}" style="{style}" srcdoc="{escape(page)}"></iframe>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Mapping[str, object]:
        if importlib.util.find_spec("anywidget") is None:
            return {"text/plain": repr(self), "text/html": self._repr_html_()}
        found = self.widget()._repr_mimebundle_()
        data = dict(found[0] if isinstance(found, tuple) else found or {})
        return {**data, "text/plain": f"{self.title}. {self.sentence()}", "text/html": self._framed(BESIDE)}

    def _display_(self) -> object:
        """What marimo shows."""
        from poise.lab.widget import marimo_of

        return marimo_of(self)

    def __repr__(self) -> str:
        return f"<figure {self.drawn.id}: {self.title}>"

    def _state(self, controls: Mapping[str, object]) -> State:
        return self.drawn.checked(controls)
