"""The figure card: numbers as Python wrote them, native controls, presets, undo, words for what goes wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from drawn_figures import Marks

Settled = Callable[[Any, str, Callable[[], object]], None]


def message_of(**values: Any) -> dict[str, Any]:
    figure = Marks()
    state = figure.checked(values)
    return figure.message(state, figure.compute(state))


def shows(figure: Any, message: dict[str, Any]) -> None:
    """The figure on the page says what Python says: sentence, numbers, code, notice."""
    assert figure.locator("[data-part=sentence]").text_content() == message["sentence"]
    for number in message["numbers"]:
        shown = figure.locator(f'[data-number="{number["label"]}"]')
        assert shown.text_content() == number["text"]
        assert float(shown.get_attribute("data-value")) == number["value"]
    assert figure.locator("[data-part=notice]").text_content() == message["notice"]


@pytest.fixture
def page(desk: Any) -> Any:
    return desk.open("/f/marks")


@pytest.fixture
def figure(page: Any) -> Any:
    return page.locator("#marks")


def test_at_rest(figure: Any) -> None:
    shows(figure, message_of())
    assert figure.locator("[data-part=title]").text_content() == Marks.title


def test_arrow_keys_move_a_slider_by_one_value(page: Any, figure: Any, settled: Settled) -> None:
    settled(page, "marks", lambda: figure.locator("[data-control=power]").press("ArrowRight"))
    shows(figure, message_of(power=2.5))
    assert figure.locator("[data-box=power]").input_value() == "2.5"


def test_a_value_can_be_typed(page: Any, figure: Any, settled: Settled) -> None:
    box = figure.locator("[data-box=strength]")
    box.fill("0.3")
    settled(page, "marks", lambda: box.press("Enter"))
    shows(figure, message_of(strength=0.3))
    assert figure.locator("[data-control=strength]").get_attribute("data-value") == "0.3"


def test_what_is_no_number_is_refused_and_taken_back(page: Any, figure: Any) -> None:
    box = figure.locator("[data-box=strength]")
    box.fill("much")
    box.press("Enter")
    assert box.get_attribute("aria-invalid") == "true"
    box.blur()
    assert box.input_value() == "0.01"
    shows(figure, message_of())


def test_a_typed_value_beyond_the_ends_becomes_the_end(page: Any, figure: Any, settled: Settled) -> None:
    box = figure.locator("[data-box=power]")
    box.fill("99")
    settled(page, "marks", lambda: box.press("Enter"))
    shows(figure, message_of(power=4.0))
    assert box.input_value() == "4"


def test_a_logarithmic_slider_has_a_true_zero_at_its_end(page: Any, figure: Any, settled: Settled) -> None:
    slider = figure.locator("[data-control=strength]")
    settled(page, "marks", lambda: slider.press("Home"))
    assert slider.get_attribute("data-value") == "0"
    shows(figure, message_of(strength=0))
    settled(page, "marks", lambda: slider.press("ArrowRight"))
    assert float(slider.get_attribute("data-value")) == 1e-4
    settled(page, "marks", lambda: slider.press("ArrowRight"))
    assert float(slider.get_attribute("data-value")) == pytest.approx(1e-4 * 10**0.25, rel=1e-5)
    settled(page, "marks", lambda: slider.press("End"))
    shows(figure, message_of(strength=10))


def test_switch_choice_and_seed(page: Any, figure: Any, settled: Settled) -> None:
    settled(page, "marks", lambda: figure.locator("[data-control=band]").click())
    assert figure.locator("[data-mark=spread]").count() == 0
    settled(page, "marks", lambda: figure.locator("[data-control=scale]").select_option("log"))
    assert figure.locator("[data-panel='4'] .drawing > svg").get_attribute("data-y").endswith(",1")
    settled(page, "marks", lambda: figure.locator("[data-control=seed] [data-step='1']").click())
    shows(figure, message_of(band=False, scale="log", seed=1))
    settled(page, "marks", lambda: figure.locator("[data-control=seed] [data-step='-1']").click())
    shows(figure, message_of(band=False, scale="log"))
    assert figure.locator("[data-control=seed] [data-step='-1']").is_disabled()


def test_presets_reset_and_undo(page: Any, figure: Any, settled: Settled) -> None:
    preset = figure.locator("[data-preset='cube, no band']")
    settled(page, "marks", preset.click)
    shows(figure, message_of(power=3, band=False))
    assert preset.get_attribute("aria-pressed") == "true"
    settled(page, "marks", figure.locator("[data-reset]").click)
    shows(figure, message_of())
    assert figure.locator("[data-reset]").is_disabled()
    settled(page, "marks", figure.locator("[data-undo]").click)
    shows(figure, message_of(power=3, band=False))
    settled(page, "marks", lambda: figure.locator("[data-control=power]").press("Control+z"))
    shows(figure, message_of())
    assert figure.locator("[data-undo]").is_disabled()


def test_many_steps_of_one_gesture_are_one_undo(page: Any, figure: Any, settled: Settled) -> None:
    slider = figure.locator("[data-control=power]")
    for _ in range(3):
        slider.press("ArrowRight")
    page.wait_for_timeout(300)
    settled(page, "marks", figure.locator("[data-undo]").click)
    shows(figure, message_of())


def test_a_notice_is_said(page: Any, figure: Any, settled: Settled) -> None:
    notice = figure.locator("[data-part=notice]")
    assert notice.is_hidden()
    settled(page, "marks", lambda: figure.locator("[data-control=strength]").press("End"))
    assert notice.is_visible()
    assert notice.text_content() == message_of(strength=10)["notice"] != ""


def test_code_is_pythons_and_follows(page: Any, figure: Any, settled: Settled) -> None:
    figure.get_by_role("button", name="Code").click()
    code = figure.locator("[data-part=code] code")
    assert code.text_content() == message_of()["code"]
    settled(page, "marks", figure.locator("[data-preset=cube]").click)
    assert code.text_content() == message_of(power=3)["code"]


def test_the_code_can_be_copied(desk: Any) -> None:
    page = desk.open("/f/marks", permissions=["clipboard-read", "clipboard-write"])
    page.locator("#marks").get_by_role("button", name="Code").click()
    page.locator("#marks .copy").click()
    page.locator("#marks .copy", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == message_of()["code"]


def test_the_table_holds_every_number(figure: Any) -> None:
    figure.get_by_role("button", name="Table").click()
    rows = message_of()["table"]["rows"]
    more = figure.locator("[data-part=table]").get_by_role("button", name=f"Show all {len(rows)} rows")
    more.click()
    cells = figure.locator("[data-part=table] tbody tr").evaluate_all(
        "all => all.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert len(cells) == len(rows)
    assert [row[1] for row in cells] == [row[1] for row in rows]


def test_predict_then_look(page: Any, figure: Any, settled: Settled) -> None:
    one = figure.locator("details.try").first
    one.locator("summary").click()
    one.locator("input").fill("0.125")
    one.get_by_role("button", name="Look").click()
    assert "You said “0.125”" in one.locator(".answer").text_content()
    settled(page, "marks", figure.locator("[data-preset=cube]").click)
    assert one.locator(".answer-now").text_content() == message_of(power=3)["sentence"]


def test_words_are_read_out_after_a_rest_not_at_first(page: Any, figure: Any, settled: Settled) -> None:
    status = figure.locator("[role=status]").last
    assert status.text_content() == ""
    settled(page, "marks", figure.locator("[data-preset=cube]").click)
    page.wait_for_timeout(1200)
    assert status.text_content() == message_of(power=3)["sentence"]


def test_values_under_the_pointer_and_under_the_keys(page: Any, figure: Any) -> None:
    drawing = figure.locator("[data-panel='1'] .drawing")
    drawing.scroll_into_view_if_needed()
    bar = figure.locator("[data-panel='1'] [data-bar='1'] rect").bounding_box()
    page.mouse.move(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    tip = drawing.locator(".tip")
    value = message_of()["panels"][1]["marks"][0]["value"][1]
    assert f"{value:.4g}" in tip.text_content()
    drawing.focus()
    drawing.press("Home")
    drawing.press("ArrowRight")
    assert f"{value:.4g}" in tip.text_content()
    drawing.press("Escape")
    assert tip.is_hidden()


def test_names_at_the_ends_of_lines_do_not_touch(desk: Any) -> None:
    page = desk.open("/f/marks", width=1900)
    names = page.locator("[data-panel='4'] [data-name] text")
    tops = sorted(names.evaluate_all("all => all.map(text => Number(text.getAttribute('y')))"))
    assert len(tops) == 3
    assert all(after - before >= 13 for before, after in itertools.pairwise(tops))
