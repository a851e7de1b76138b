"""A figure at hand: frames for scripts, files, and what notebooks are given."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from poise.core.errors import ArgumentError
from poise.lab.figures import FIGURES
from poise.lab.shown import ShownFigure, figure

ROWS = [{"step": at, "train_loss": 3.0 - at / 4, "val_loss": 3.0 - at / 4 + max(0, at - 4) / 2} for at in range(10)]


def test_it_is_poise_lab_figure_whatever_else_was_imported() -> None:
    import poise.lab

    assert poise.lab.figure is figure


def test_a_chapter_s_figure_is_had_by_its_id() -> None:
    for name in FIGURES:
        assert figure(name).drawn.id == name


def test_a_frame_is_the_figure_s_own() -> None:
    shown = figure("poly")
    state = shown.drawn.checked({"degree": 5})
    assert shown.frame(degree=5).numbers == shown.drawn.compute(state).numbers
    assert shown.sentence(degree=5) == shown.drawn.describe(state, shown.drawn.compute(state))
    assert shown.controls == shown.drawn.start()


def test_short_names_are_of_runs() -> None:
    assert figure("stopping", ROWS).drawn.id == figure("loss", ROWS).drawn.id == "run-loss"
    assert figure("compare-loss", ROWS, ROWS[:5]).drawn.id == "compare-loss"


@pytest.mark.parametrize("name", ["nothing", "run-loss", 3, None])
def test_an_unknown_name_is_refused(name: object) -> None:
    with pytest.raises(ArgumentError, match=r"figure\.name"):
        figure(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gap", "poly"])
def test_a_figure_that_the_run_has_no_data_for_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"figure\.name.*run-loss"):
        figure(name, ROWS)


def test_a_control_that_is_not_there_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no control"):
        figure("loss", ROWS).frame(degree=3)


@pytest.mark.parametrize("limits", [{"frames": 0}, {"megabytes": -1}, {"seconds": float("nan")}, {"frames": True}])
def test_a_limit_that_is_none_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="above 0"):
        figure("loss", ROWS).to_html(**limits)  # type: ignore[arg-type]


def test_to_html_writes_what_it_returns(tmp_path: Path) -> None:
    shown = figure("loss", ROWS)
    text = shown.to_html(tmp_path / "a.html", seconds=5)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == text


def test_without_a_kernel_a_cell_shows_a_whole_page_in_a_frame() -> None:
    shown = figure("loss", ROWS)
    found = re.fullmatch(r'<iframe title="[^"]*" style="[^"]*" srcdoc="([^"]*)"></iframe>', shown._repr_html_())
    assert found is not None
    page = html.unescape(found[1])
    assert page.startswith("<!doctype html>")
    assert 'id="poise-static"' in page


def test_without_anywidget_the_page_is_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    shown = figure("loss", ROWS)
    assert set(shown._repr_mimebundle_()) == {"text/plain", "text/html"}
    with pytest.raises(ArgumentError, match=r"poise\[notebook\]"):
        shown.widget()


def test_beside_the_widget_a_small_page_is_kept_for_when_no_kernel_answers() -> None:
    pytest.importorskip("anywidget", reason="anywidget is in the extra `notebook`")
    bundle = figure("loss", ROWS)._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert len(str(bundle["text/html"])) < 600_000


def test_a_figure_says_what_it_is() -> None:
    shown = figure("loss", ROWS)
    assert isinstance(shown, ShownFigure)
    assert repr(shown) == f"<figure run-loss: {shown.title}>"
