"""The address holds the state: reload, links in the prose, back and forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Settled = Callable[[Any, str, Callable[[], object]], None]


def hash_of(page: Any) -> str:
    page.wait_for_timeout(400)  # the address follows a slider at rest
    return str(page.evaluate("location.hash"))


def picture(page: Any, key: str = "marks") -> list[str]:
    return page.locator(f"#{key}").evaluate(
        """one => [...one.querySelectorAll('[data-mark] path, [data-number]')].map(
              e => e.getAttribute('d') ?? e.textContent)"""
    )


def test_only_what_differs_from_the_start_is_in_the_address(desk: Any, settled: Settled) -> None:
    page = desk.open()
    assert hash_of(page) == ""
    settled(page, "marks", lambda: page.locator("#marks [data-control=power]").press("ArrowRight"))
    settled(page, "others", lambda: page.locator("#others [data-control=seed] [data-step='1']").click())
    assert hash_of(page) == "#marks.power=2.5&others.seed=1"
    settled(page, "marks", page.locator("#marks [data-reset]").click)
    assert hash_of(page) == "#others.seed=1"


def test_reload_gives_the_same_picture(desk: Any, settled: Settled) -> None:
    page = desk.open()
    settled(page, "marks", page.locator("#marks [data-preset='cube, no band']").click)
    settled(page, "marks", lambda: page.locator("#marks [data-control=seed] [data-step='1']").click())
    settled(page, "marks", lambda: page.locator("#marks [data-control=strength]").press("ArrowLeft"))
    before, address = picture(page), hash_of(page)
    page.reload()
    desk.wait(page)
    assert picture(page) == before
    assert hash_of(page) == address


def test_a_link_in_the_prose_sets_a_figure_in_place(desk: Any, settled: Settled) -> None:
    page = desk.open()
    settled(page, "marks", lambda: page.locator("#marks [data-control=seed] [data-step='1']").click())
    settled(page, "marks", page.locator(".prose a", has_text="3").first.click)
    assert page.locator("#marks [data-control=power]").get_attribute("data-value") == "3"
    assert page.locator("#marks [data-control=band]").is_checked() is False
    assert page.locator("#marks [data-control=seed]").get_attribute("data-value") == "0", (
        "the link names the whole state"
    )
    assert hash_of(page) == "#marks.power=3&marks.band=false"
    page.wait_for_timeout(600)
    top = page.locator("#marks").evaluate("one => one.getBoundingClientRect().top")
    assert 0 <= top < 900


def test_back_and_forward(desk: Any, settled: Settled) -> None:
    page = desk.open("/f/marks")
    settled(page, "marks", page.locator("[data-preset=cube]").click)
    settled(page, "marks", page.locator("[data-reset]").click)
    settled(page, "marks", page.go_back)
    assert page.locator("[data-control=power]").get_attribute("data-value") == "3"
    settled(page, "marks", page.go_back)
    assert page.locator("[data-control=power]").get_attribute("data-value") == "2"
    settled(page, "marks", page.go_forward)
    assert page.locator("[data-control=power]").get_attribute("data-value") == "3"


def test_a_place_and_a_state_stand_in_one_address(desk: Any, settled: Settled) -> None:
    page = desk.open()
    settled(page, "marks", lambda: page.locator("#marks [data-control=power]").press("ArrowRight"))
    page.locator("nav.contents a[href$='#moving']").click()
    assert hash_of(page) == "#moving&marks.power=2.5"
    page.reload()
    desk.wait(page)
    assert page.locator("#marks [data-control=power]").get_attribute("data-value") == "2.5"
    page.wait_for_timeout(400)
    assert 0 <= page.locator("#moving").evaluate("one => one.getBoundingClientRect().top") < 500


@pytest.mark.parametrize(
    "bad",
    [
        "#marks.power=NaN",
        "#marks.power=1e999",
        "#marks.band=maybe",
        "#marks.scale=%3Cscript%3E",
        "#marks.none=1",
        "#%",
        "#marks.power=%E0%A4",
        "#__proto__.x=1",
        "#marks.power=",
    ],
)
def test_a_broken_address_is_the_start(desk: Any, bad: str) -> None:
    page = desk.open("/f/marks")
    start = picture(page)
    page.goto(page.url.split("#")[0] + bad)
    page.reload()
    desk.wait(page)
    assert picture(page) == start


def test_copy_link_gives_the_figure_in_its_state(desk: Any, settled: Settled) -> None:
    page = desk.open("/", permissions=["clipboard-read", "clipboard-write"])
    settled(page, "marks", page.locator("#marks [data-preset=cube]").click)
    page.locator("#marks [data-copy=link]").click()
    page.locator("#marks [data-copy=link]", has_text="Copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"http://127.0.0.1:{desk.server.port}/#marks&marks.power=3"
    assert page.locator("#marks a", has_text="Larger").get_attribute("href") == "/f/marks"
