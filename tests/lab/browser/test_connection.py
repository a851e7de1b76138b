"""The newest value lands, however slow the figure; a lost connection is told in words, and found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is in the extra `dev`").expect


Settled = Callable[[Any, str, Callable[[], object]], None]


def sent_by(page: Any) -> list[dict[str, Any]]:
    """The messages that the page sends, as it sends them."""
    sent: list[dict[str, Any]] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda payload: sent.append(json.loads(payload))))
    return sent


def test_a_slow_figure_answers_the_newest_value_and_skips_others(desk: Any) -> None:
    page = desk.open("/f/slow")
    sent = sent_by(page)
    page.reload()
    desk.wait(page)
    slider = page.locator("[data-control=value]")
    slider.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert page.locator("[data-box=value]").input_value() == "30", "the label does not wait for the picture"
    expect(page.locator("[data-number=value]")).to_have_text("30")
    sets = [message for message in sent if message["op"] == "set"]
    assert len(sets) < 20
    assert sets[-1]["state"]["value"] == 30
    assert [message["id"] for message in sets] == list(range(1, len(sets) + 1))
    expect(page.locator("#slow")).to_have_attribute("data-id", str(len(sets)))


def test_one_request_is_under_way_at_a_time(desk: Any) -> None:
    page = desk.open("/f/slow")
    order: list[str] = []

    def listen(socket: Any) -> None:
        socket.on("framesent", lambda payload: order.append("sent" if '"set"' in payload else ""))
        socket.on("framereceived", lambda payload: order.append("answered" if '"patch"' in payload else ""))

    page.on("websocket", listen)
    page.reload()
    desk.wait(page)
    order.clear()
    page.locator("[data-control=value]").focus()
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    expect(page.locator("[data-number=value]")).to_have_text("15")
    turns = [turn for turn in order if turn]
    assert turns == ["sent", "answered"] * (len(turns) // 2)


def test_a_failure_is_told_and_the_last_picture_stays(desk: Any, settled: Settled) -> None:
    page = desk.open("/f/slow")
    settled(page, "slow", lambda: page.locator("[data-control=value]").press("End"))
    settled(page, "slow", lambda: page.locator("[data-control=fails]").click())
    notice = page.locator("[data-part=notice]")
    assert "on purpose" in notice.text_content()
    assert notice.get_attribute("data-kind") == "error"
    assert page.locator("[data-number=value]").text_content() == "100"
    settled(page, "slow", lambda: page.locator("[data-control=fails]").click())
    assert notice.is_hidden()


def test_a_run_plays_pauses_steps_and_starts_anew(desk: Any) -> None:
    page = desk.open("/f/training")
    step = page.locator("[data-number=step]")
    expect(step).to_have_text("40")
    page.locator("[data-control=steps]").focus()
    page.keyboard.press("End")
    expect(step).to_have_text("400")
    page.locator("[data-action=step]").click()
    expect(step).to_have_text("1")
    page.locator("[data-action=step]").click()
    expect(step).to_have_text("2")
    page.locator("[data-action=play]").click()
    expect(page.locator("[data-action=pause]")).to_be_visible()
    expect(step).not_to_have_text("2")
    page.locator("[data-action=pause]").click()
    expect(page.locator("[data-action=play]")).to_be_visible()
    page.wait_for_timeout(200)
    held = step.text_content()
    page.wait_for_timeout(300)
    assert step.text_content() == held != "400"
    page.locator("[data-action=reset]").click()
    expect(step).to_have_text("400")


def test_a_run_plays_to_its_end(desk: Any) -> None:
    page = desk.open("/f/training")
    page.locator("[data-action=play]").click()
    expect(page.locator(".play-bar")).to_have_attribute("data-done", "true")
    expect(page.locator("[data-number=step]")).to_have_text("40")
    assert page.locator("[data-action=play]").is_visible()


def test_a_lost_server_is_told_and_found_again(browser: Any) -> None:
    import asyncio
    import threading
    from contextlib import contextmanager

    from poise.lab.server.lab import Lab
    from poise.lab.server.serve import Server

    @contextmanager
    def at(port: int) -> Any:
        server = Server(Lab(source="drawn_figures"), port)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        try:
            yield server
        finally:
            server.end()
            thread.join()

    context = browser.new_context()
    page = context.new_page()
    banner = page.locator(".banner")
    with at(0) as first:
        port = first.port
        page.goto(first.address("/f/slow"))
        expect(page.locator("#slow[data-ready]")).to_have_count(1)
        assert banner.is_hidden()
        page.locator("[data-control=value]").press("End")
        expect(page.locator("[data-number=value]")).to_have_text("100")
    expect(banner).to_contain_text("server has stopped")
    page.locator("[data-control=value]").press("Home")
    assert page.locator("[data-number=value]").text_content() == "100", "the last picture stays"
    with at(port) as second:
        expect(banner).to_contain_text("started anew", timeout=20_000)
        other = context.new_page()
        other.goto(second.address("/f/slow"))
        expect(banner).to_be_hidden(timeout=20_000)
        expect(page.locator("[data-number=value]")).to_have_text("0")
        context.close()


def test_what_is_changed_while_the_connection_is_down_is_drawn_when_it_is_back(desk: Any) -> None:
    page = desk.open("/", ready=False)
    routes: list[Any] = []

    def through(route: Any) -> None:
        route.connect_to_server()
        routes.append(route)

    page.route_web_socket("**/ws", through)
    page.goto(f"http://127.0.0.1:{desk.server.port}/f/slow")
    desk.wait(page)
    slider, number = page.locator("[data-control=value]"), page.locator("[data-number=value]")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")  # one is under way and one waits
    routes[-1].close()
    expect(page.locator("body")).to_have_attribute("data-connection", "closed")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("body")).to_have_attribute("data-connection", "open")
    expect(number).to_have_text("6")
    page.keyboard.press("ArrowRight")
    expect(number).to_have_text("7")
