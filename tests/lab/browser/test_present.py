"""The presenter's mode: one figure a screen, arrow keys step through presets and figures."""

from __future__ import annotations

from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is in the extra `dev`").expect


@pytest.fixture
def page(desk: Any) -> Any:
    return desk.open("/present", width=1920, height=1080)


def shown(page: Any) -> list[str]:
    return page.locator("poise-figure").evaluate_all("all => all.filter(e => e.checkVisibility()).map(e => e.id)")


def test_one_figure_is_shown_in_large_type(page: Any) -> None:
    assert shown(page) == ["marks"]
    sizes = page.locator("#marks .drawing svg text").evaluate_all(
        "all => all.map(t => parseFloat(getComputedStyle(t).fontSize))"
    )
    assert min(sizes) >= 18


def test_arrow_keys_step_through_presets_then_figures_and_back(page: Any) -> None:
    power = page.locator("#marks [data-control=power]")
    page.keyboard.press("ArrowRight")
    expect(power).to_have_attribute("data-value", "3")
    expect(page.locator(".where")).to_contain_text("cube")
    page.keyboard.press("PageDown")
    expect(page.locator("#marks [data-preset='cube, no band']")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    assert shown(page) == ["others"]
    expect(page.locator("#others[data-ready]")).to_have_count(1)
    page.keyboard.press("ArrowLeft")
    assert shown(page) == ["marks"]
    expect(page.locator("#marks [data-preset='cube, no band']")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Home")
    expect(power).to_have_attribute("data-value", "2")


def test_arrows_in_a_slider_belong_to_the_slider(page: Any) -> None:
    slider = page.locator("#marks [data-control=power]")
    slider.press("ArrowRight")
    expect(slider).to_have_attribute("data-value", "2.5")
    assert shown(page) == ["marks"]
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("data-value", "3")


def test_buttons_do_as_the_keys(page: Any) -> None:
    for _ in range(3):
        page.locator("[data-present=next]").click()
    assert shown(page) == ["others"]
    page.locator("[data-present=back]").click()
    assert shown(page) == ["marks"]


def test_an_address_opens_a_figure(desk: Any) -> None:
    page = desk.open("/present#slow&slow.value=40", ready=False)
    expect(page.locator("#slow [data-number=value]")).to_have_text("40")
    assert shown(page) == ["slow"]


def test_the_end_stays(desk: Any) -> None:
    page = desk.open("/present#training", ready=False)
    expect(page.locator("#training[data-ready]")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    assert shown(page) == ["training"]


def test_a_screen_holds_the_figure(desk: Any) -> None:
    page = desk.open("/present#training", width=1920, height=1080)
    expect(page.locator("#training[data-ready]")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollHeight") <= 1080
