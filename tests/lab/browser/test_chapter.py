"""The chapter as it ships: what stands on the screen is what Python says, for every reader and on every screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poise.lab.section import Show
from poise.lab.shelf import CHAPTER, FIGURES

SOURCE = "poise.lab.shelf"
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
SHOWN = [part.figure for section in CHAPTER for part in section.body if isinstance(part, Show)]


@pytest.mark.parametrize("id", SHOWN)
def test_the_page_says_what_python_says(desk: Any, settled: Any, id: str) -> None:
    figure = FIGURES[id]()
    page = desk.open(f"/f/{id}")
    states = [figure.start(), *({**figure.start(), **preset.state} for preset in figure.presets[:2])]
    for at, state in enumerate(states):
        if at:
            button = page.locator(f"#{id} [data-preset='{figure.presets[at - 1].label}']")
            if button.get_attribute("aria-pressed") == "true":
                continue
            settled(page, id, button.click)
        message = figure.message(state, figure.compute(state))
        assert page.locator(f"#{id} [data-part=sentence]").text_content() == message["sentence"]
        numbers = page.locator(f"#{id} [data-number]")
        assert numbers.all_text_contents() == [number["text"] for number in message["numbers"]]
        assert page.locator(f"#{id} [data-panel]").count() == len(message["panels"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_the_chapter(desk: Any, scheme: str) -> None:
    page = desk.open("/", color_scheme=scheme)
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]] == []


@pytest.mark.parametrize("width", [320, 768, 1920])
def test_the_chapter_does_not_scroll_sideways(desk: Any, width: int) -> None:
    page = desk.open("/", width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_texts_stay_inside_their_figures_at_320(desk: Any) -> None:
    page = desk.open("/", width=320)
    outside = page.locator(".drawing svg text").evaluate_all(
        """all => all.filter(text => {
          const own = text.getBoundingClientRect(), room = text.closest('.card').getBoundingClientRect();
          return own.width > 0 && (own.left < room.left || own.right > room.right);
        }).map(text => text.closest('.card').id + ': ' + text.textContent)"""
    )
    assert outside == []


def test_every_link_of_the_prose_leads_to_a_state_that_exists(desk: Any) -> None:
    page = desk.open("/")
    links = page.locator(".prose a[href^='#'][href*='=']").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links
    for link in links:
        for token in link.removeprefix("#").split("&"):
            if "=" not in token:
                continue
            place, text = token.split("=", 1)
            id, name = place.split(".")
            figure = FIGURES[id]()
            control = next(one for one in figure.controls if one.name == name)
            value: Any = text
            if control.kind == "toggle":
                assert text in {"true", "false"}, link
                value = text == "true"
            elif control.kind in {"range", "seed"}:
                value = int(text) if control.kind == "seed" else float(text)
            assert control.check(value) is not None, link


def test_a_value_beyond_the_axis_is_read_within_the_drawing(desk: Any, settled: Any) -> None:
    page = desk.open("/f/poly")
    settled(page, "poly", lambda: page.locator("[data-control=degree]").press("End"))
    drawing = page.locator("[data-panel='1'] .drawing")
    drawing.press("End")
    assert "new points 378" in drawing.locator(".tip").inner_text().replace("\n", " ")
    frame, ring, tip = (drawing.locator(name).bounding_box() for name in ("svg", ".ring", ".tip"))
    for box in (ring, tip):
        assert frame["y"] <= box["y"]
        assert box["y"] + box["height"] <= frame["y"] + frame["height"]


@pytest.mark.parametrize("width", [320, 640])
def test_layers_of_a_narrow_network_are_told_apart(desk: Any, settled: Any, width: int) -> None:
    page = desk.open("/f/dropout", width=width)
    settled(page, "dropout", lambda: page.locator("[data-control=layers]").press("End"))
    names = page.locator("[data-panel='0'] .names text").all_text_contents()
    assert [name[-1] for name in names[1:-1]] == ["1", "2", "3"]
