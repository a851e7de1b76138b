"""For every reader: axe finds nothing, no page scrolls sideways, the keyboard reaches all, motion can be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
PAGES = ["/", "/f/marks", "/f/others", "/present", "/runs"]


def violations(page: Any) -> list[str]:
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{one['impact']} {one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_violation(desk: Any, path: str, scheme: str) -> None:
    assert violations(desk.open(path, color_scheme=scheme)) == []


def test_axe_finds_no_violation_with_all_open(desk: Any) -> None:
    page = desk.open("/f/marks")
    for name in ("Table", "Code", "Export"):
        page.get_by_role("button", name=name, exact=True).click()
    page.locator("details.try summary").first.click()
    assert violations(page) == []


def test_axe_is_awake(desk: Any) -> None:
    page = desk.open("/f/marks")
    page.evaluate("document.querySelector('[data-control=power]').labels[0].remove()")
    assert any("label" in one for one in violations(page))


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [320, 390, 768, 1920])
def test_no_page_scrolls_sideways(desk: Any, path: str, width: int) -> None:
    page = desk.open(path, width=width)
    for name in ("Table", "Code"):
        for button in page.get_by_role("button", name=name, exact=True).all():
            if button.is_visible():
                button.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_texts_of_drawings_are_13_pixels_or_more_at_320(desk: Any) -> None:
    page = desk.open(width=320)
    sizes = page.locator(".drawing svg text").evaluate_all(
        "all => all.map(text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)"
    )
    assert len(sizes) > 50
    assert min(sizes) >= 12.99


def test_texts_of_drawings_stay_inside_at_320(desk: Any) -> None:
    page = desk.open(width=320)
    outside = page.locator(".drawing svg text").evaluate_all(
        """all => all.filter(text => {
          const own = text.getBoundingClientRect(), room = text.closest('.picture').getBoundingClientRect();
          return own.width > 0 && (own.left < room.left - 8 || own.right > room.right + 8);
        }).map(text => text.textContent)"""
    )
    assert outside == []


def test_every_target_is_24_pixels_high(desk: Any) -> None:
    page = desk.open("/f/marks")
    low = page.locator("main :is(button, input, select, summary, a.quiet)").evaluate_all(
        """all => all.filter(e => e.offsetParent && e.getBoundingClientRect().height < 24)
                     .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert low == []


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(desk: Any) -> None:
    page = desk.open("/f/marks")
    wanted = page.locator("#marks").evaluate(
        """one => [...one.querySelectorAll('input, select, button, summary, a[href], [tabindex="0"]')].filter(
          e => e.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true}) && !e.disabled).length"""
    )
    page.locator("main").focus()
    seen: list[str] = []
    hidden: list[str] = []
    for _ in range(wanted + 8):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => {
              const e = document.activeElement, style = getComputedStyle(e);
              if (!e.closest('#marks')) return null;
              e.dataset.reached ??= String(Math.random());
              const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
              return [e.dataset.reached, ring, e.outerHTML.slice(0, 80)];
            }"""
        )
        if found:
            seen.append(found[0])
            if not found[1]:
                hidden.append(found[2])
    assert hidden == [], "focus is drawn"
    assert len(set(seen)) == wanted


def test_a_whole_visit_by_keyboard(desk: Any, settled: Callable[..., None]) -> None:
    page = desk.open("/f/marks")

    def press(name: str, key: str, many: int = 1) -> None:
        page.locator(f"#marks {name}").focus()
        for _ in range(many):
            page.keyboard.press(key)

    settled(page, "marks", lambda: press("[data-preset=cube]", "Enter"))
    assert page.locator("[data-control=power]").get_attribute("data-value") == "3"
    settled(page, "marks", lambda: press("[data-control=band]", "Space"))
    assert page.locator("[data-mark=spread]").count() == 0
    settled(page, "marks", lambda: press("[data-step='1']", "Enter"))
    assert page.locator("[data-control=seed]").get_attribute("data-value") == "1"
    settled(page, "marks", lambda: press("[data-box=seed]", "ArrowUp"))
    assert page.locator("[data-control=seed]").get_attribute("data-value") == "2"
    press(".fold-button >> nth=1", "Enter")
    assert page.locator("[data-part=code]").is_visible()


def test_the_readers_theme_goes_before_the_systems(desk: Any) -> None:
    page = desk.open("/f/marks", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch to the dark theme").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    desk.wait(page)
    assert page.evaluate(ground) == dark, "the choice is kept"
    page.get_by_role("button", name="Switch to the light theme").click()
    assert page.evaluate(ground) == light


def test_the_system_theme_is_followed_while_nothing_is_chosen(desk: Any) -> None:
    page = desk.open("/f/marks", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    page.locator("html[data-theme=dark]").wait_for()
    assert page.evaluate(ground) != light


def test_less_motion(desk: Any) -> None:
    page = desk.open("/f/training", reduced_motion="reduce")
    moving = page.locator("main *").evaluate_all(
        """all => all.map(e => getComputedStyle(e)).filter(
          style => style.transitionDuration !== '0s' || style.animationName !== 'none').length"""
    )
    assert moving == 0
    assert "main" in page.locator("[data-action=step]").get_attribute("class"), "stepping is what is offered first"


def test_without_javascript_the_claim_stands_in_its_place(desk: Any) -> None:
    page = desk.open("/", ready=False, java_script_enabled=False)
    assert page.locator("#marks h3").text_content() == "Every mark stands where Python put it"


def test_print_leaves_the_page_light_and_without_controls(desk: Any) -> None:
    page = desk.open("/f/marks", color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator(".side").is_hidden()
    assert page.locator("header.top").is_hidden()
    assert page.locator(".card").first.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"
