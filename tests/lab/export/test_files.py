"""Exported files in Chromium, from the disk: sliders move, the numbers are Python's, nothing is asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poise.cli import main
from poise.core.errors import ArgumentError
from poise.lab.base import Figure
from poise.lab.export import Limits, page_html, stored
from poise.lab.export.pack import unpacked
from poise.lab.export.page import in_script
from poise.lab.export.site import export_site
from poise.lab.section import Section, Show

sys.path.insert(0, str(Path(__file__).parent))
from test_store import Runner, Shelf, Wave  # its figures

PATIENCE = 20_000


class Opened:
    """A file in a browser, and what went wrong or was asked for there."""

    def __init__(self, browser: Any, path: Path, width: int = 1000, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.faults.append(said.text))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.locator("poise-figure[data-ready]").first.wait_for()

    def numbers(self, key: str) -> dict[str, tuple[str, float]]:
        found = {}
        for one in self.page.locator(f"poise-figure#{key} [data-number]").all():
            found[one.get_attribute("data-number")] = (one.inner_text(), float(one.get_attribute("data-value")))
        return found

    def settle(self, key: str, act: Any) -> None:
        figure = self.page.locator(f"poise-figure#{key}")
        before = figure.get_attribute("data-id")
        act()
        self.page.locator(f"poise-figure#{key}:not([data-id='{before}'])").wait_for()
        self.page.wait_for_timeout(60)


def python_s(figure: Figure, state: dict[str, Any]) -> dict[str, tuple[str, float]]:
    frame = figure.compute(figure.checked(state))
    return {number.label: (number.text, float(number.value)) for number in frame.numbers}


@pytest.fixture
def wave(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    path = tmp_path / "wave #1.html"
    path.write_text(page_html(stored(Wave(), Limits(frames=400, seconds=20))), encoding="utf-8")
    own = Opened(browser, path)
    yield own
    own.context.close()
    assert not own.faults
    assert own.asked == [path.as_uri()], "the file asked for something"


def test_a_file_shows_python_s_numbers_and_moves(wave: Opened) -> None:
    figure = Wave()
    assert wave.numbers("wave") == python_s(figure, {})
    slider = wave.page.locator("[data-control=power]")
    slider.focus()
    values = next(values for name, values in stored(Wave(), Limits(frames=400, seconds=20)).axes if name == "power")
    wave.settle("wave", lambda: slider.press("End"))
    state = {"power": values[-1]}
    assert wave.numbers("wave") == python_s(figure, state)
    wave.settle("wave", lambda: wave.page.locator("[data-control=flip]").check())
    assert wave.numbers("wave") == python_s(figure, state | {"flip": True})
    wave.settle("wave", lambda: wave.page.locator("[data-control=kind]").select_option("b"))
    assert wave.numbers("wave") == python_s(figure, state | {"flip": True, "kind": "b"})
    assert wave.page.locator("[data-part=sentence]").inner_text().startswith("The sum is")


def test_presets_of_a_file_are_python_s(wave: Opened) -> None:
    figure = Wave()
    for preset in figure.presets:
        wave.settle("wave", lambda label=preset.label: wave.page.locator(f'[data-preset="{label}"]').click())
        assert wave.numbers("wave") == python_s(figure, preset.state)


def test_the_drawn_coordinates_are_python_s_within_the_stated_error(wave: Opened) -> None:
    figure = Wave()
    kept = unpacked(stored(figure, Limits(frames=400, seconds=20)).text)
    frame = figure.compute(figure.start())
    expected = np.array(frame.panels[0].marks[0].y)  # type: ignore[union-attr]
    place = next(at for at, one in enumerate(kept) if one["numbers"][0]["value"] == frame.numbers[0].value)
    found = np.array(kept[place]["panels"][0]["marks"][0]["y"])
    assert np.abs(found - expected).max() <= (expected.max() - expected.min()) / 131_066 * 1.01 + 1e-6
    path = wave.page.locator("[data-mark] path").first.get_attribute("d")
    assert len(re.findall(r"[ML,]", path)) >= 20, "the curve is not drawn"


def test_a_recorded_run_has_a_slider_over_its_moments(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "runner.html"
    path.write_text(page_html(stored(Runner())), encoding="utf-8")
    own = Opened(browser, path)
    assert own.numbers("runner")["step"][1] == 299
    slider = own.page.locator("[data-control=moment]")
    slider.focus()
    own.settle("runner", lambda: slider.press("Home"))
    assert own.numbers("runner")["step"][1] == 0
    own.settle("runner", lambda: own.page.locator("[data-control=recording]").select_option(label="fast"))
    own.settle("runner", lambda: slider.press("End"))
    assert own.numbers("runner")["step"][1] == 99
    own.context.close()
    assert not own.faults


def test_names_cannot_end_the_script(browser: Any, tmp_path: Path) -> None:
    assert "<" not in in_script({"a": "</script><script>alert(1)</script>"})
    rows = [{"step": 1, "</script><img src=x onerror=alert(1)>": 3.0, "val_<b>loss</b>": 2.0}]
    from poise.lab.shown import figure

    path = tmp_path / "x.html"
    figure("loss", rows).to_html(path)
    own = Opened(browser, path)
    own.page.on("dialog", lambda dialog: own.faults.append("a script ran"))
    assert own.page.locator("img").count() == 0
    own.page.wait_for_timeout(100)
    own.context.close()
    assert not own.faults
    assert own.asked == [path.as_uri()]


# ---- the site ----

CHAPTER = (
    Section("first", "One claim", ("Words, and a [link](#wave.power=7&wave.seed=2).", Show("wave"), Show("shelf"))),
    Section(
        "second",
        "Another",
        (Show("runner"), "An [odd](#wave.weight=0.0123&wave.flip=true&wave.seed=77) one. The *end* & <b>no HTML</b>."),
    ),
)
FIGURES = {"wave": Wave, "shelf": Shelf, "runner": Runner}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "my site"
    return export_site(out, FIGURES, CHAPTER, limits=Limits(frames=200, seconds=10))


def test_the_site_opens_from_the_disk_with_live_sliders(browser: Any, site: Path) -> None:
    own = Opened(browser, site)
    own.page.wait_for_selector("poise-figure#runner[data-ready]")
    assert own.page.locator("h2").all_inner_texts()[:2] == ["One claim", "Another"]
    assert "<b>no HTML</b>" in own.page.locator("main").inner_text()
    assert own.numbers("wave") == python_s(Wave(), {})
    own.settle("wave", lambda: own.page.get_by_role("link", name="link", exact=True).click())
    assert own.numbers("wave") == python_s(Wave(), {"power": 7.0, "seed": 2})
    own.page.reload()
    own.page.wait_for_selector("poise-figure#wave[data-ready]")
    assert own.numbers("wave") == python_s(Wave(), {"power": 7.0, "seed": 2}), "the state is not in the address"
    own.context.close()
    assert not own.faults
    folder = site.parent.as_uri()
    assert all(url.startswith(folder) for url in own.asked), own.asked


def test_a_link_in_the_text_leads_to_the_very_state(browser: Any, site: Path) -> None:
    own = Opened(browser, site)
    own.settle("wave", lambda: own.page.get_by_role("link", name="odd", exact=True).click())
    assert own.numbers("wave") == python_s(Wave(), {"weight": 0.0123, "flip": True, "seed": 77})
    own.context.close()
    assert not own.faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_site_fits_a_phone_in_both_themes(browser: Any, site: Path, scheme: str) -> None:
    own = Opened(browser, site, width=320, color_scheme=scheme)
    own.page.wait_for_selector("poise-figure#runner[data-ready]")
    assert own.page.evaluate("document.documentElement.scrollWidth") <= 320
    own.context.close()
    assert not own.faults


def test_every_figure_of_the_site_also_stands_alone(browser: Any, site: Path) -> None:
    assert sorted(path.name for path in (site.parent / "figures").iterdir()) == [
        "runner.html",
        "shelf.html",
        "wave.html",
    ]
    own = Opened(browser, site.parent / "figures" / "shelf.html")
    assert own.numbers("shelf") == python_s(Shelf(), {})
    own.context.close()


def test_an_export_is_written_over_but_nothing_else_is(site: Path, tmp_path: Path) -> None:
    export_site(site.parent, {"shelf": Shelf}, (Section("a", "A", (Show("shelf"),)),))
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ArgumentError, match="holds other things"):
        export_site(tmp_path, FIGURES, CHAPTER)
    with pytest.raises(ArgumentError, match="figures that there are not"):
        export_site(tmp_path / "new", {}, CHAPTER)


# ---- the command ----


def test_the_command_writes_one_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "w.html"
    assert main(["lab", "export", "--figure", "decay_heat", "--out", str(out)]) == 0
    assert "poise-static" in out.read_text(encoding="utf-8")
    assert "decay_heat is in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export"], "must have --out"),
        (["--out", "x"], "is of `poise lab export`"),
        (["export", "--out", "x", "--figure", "nothing"], "must be one of"),
        (["export", "--out", ".", "--figure", "poly"], "must be a file"),
    ],
)
def test_the_command_refuses_in_words(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["lab", *arguments]) == 2
    assert words in capsys.readouterr().err
