"""Every mark stands where Python put it: its coordinates are read back through the scales of the drawing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from drawn_figures import Marks

NUMBERS = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
CLOSE = 0.02  # pixels: coordinates are written with two decimals


class Axes:
    """The scales of one drawn panel, from pixels back to Python's numbers."""

    def __init__(self, panel: Any) -> None:
        drawing = panel.locator(".drawing > svg")
        self.x, self.y = (
            [float(part) for part in drawing.get_attribute(name).split(",")] for name in ("data-x", "data-y")
        )

    @staticmethod
    def _back(axis: Sequence[float], pixel: float) -> float:
        low, high, first, last, log = axis
        share = (pixel - first) / (last - first)
        return low * (high / low) ** share if log else low + share * (high - low)

    @staticmethod
    def _unit(axis: Sequence[float], value: float) -> float:
        """How far a value may be from where it should be drawn."""
        low, high, first, last, log = axis
        share = CLOSE / abs(last - first)
        return value * ((high / low) ** share - 1) if log else share * (high - low)

    def near(self, pixels: tuple[float, float], point: tuple[float, float]) -> bool:
        return all(
            abs(self._back(axis, pixel) - value) <= abs(self._unit(axis, value)) + 1e-9
            for axis, pixel, value in zip((self.x, self.y), pixels, point, strict=True)
        )


@pytest.fixture(scope="module")
def message() -> dict[str, Any]:
    figure = Marks()
    state = figure.start()
    return figure.message(state, figure.compute(state))


@pytest.fixture
def figure(desk: Any) -> Any:
    return desk.open().locator("poise-figure[data-figure=marks]")


def path_of(panel: Any, label: str, at: str = "path") -> str:
    return str(panel.locator(f'[data-mark="{label}"] {at}').first.get_attribute("d"))


def pairs(d: str) -> list[tuple[float, float]]:
    numbers = [float(number) for number in NUMBERS.findall(d)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def mark_of(message: dict[str, Any], panel: int, label: str) -> dict[str, Any]:
    return next(mark for mark in message["panels"][panel]["marks"] if mark.get("label") == label)


@pytest.mark.parametrize(
    ("panel", "label"),
    [
        (0, "truth"),
        (0, "fit"),
        (3, "contour"),
        (3, "disc"),
        (3, "diamond"),
        (4, "train"),
        (4, "validation"),
        (5, "after"),
    ],
)
def test_lines_and_shapes(figure: Any, message: dict[str, Any], panel: int, label: str) -> None:
    drawn = figure.locator(f"[data-panel='{panel}']")
    mark, axes = mark_of(message, panel, label), Axes(drawn)
    points = pairs(path_of(drawn, label))
    assert len(points) == len(mark["x"])
    assert all(axes.near(at, point) for at, point in zip(points, zip(mark["x"], mark["y"], strict=True), strict=True))


def test_a_nan_breaks_a_line(figure: Any, message: dict[str, Any]) -> None:
    d = path_of(figure.locator("[data-panel='4']"), "broken")
    assert d.count("M") == 2, "one piece before the missing value, one after it"
    assert mark_of(message, 4, "broken")["y"][1] is None


@pytest.mark.parametrize(("panel", "label"), [(0, "data"), (1, "true weights")])
def test_dots(figure: Any, message: dict[str, Any], panel: int, label: str) -> None:
    drawn = figure.locator(f"[data-panel='{panel}']")
    mark, axes = mark_of(message, panel, label), Axes(drawn)
    circles = re.findall(r"M(\S+) (\S+?)a(\S+?) ", path_of(drawn, label))
    assert len(circles) == len(mark["x"])
    for (left, y, radius), point in zip(circles, zip(mark["x"], mark["y"], strict=True), strict=True):
        assert axes.near((float(left) + float(radius), float(y)), point)


def test_a_band_lies_between_its_edges(figure: Any, message: dict[str, Any]) -> None:
    drawn = figure.locator("[data-panel='0']")
    mark, axes = mark_of(message, 0, "spread"), Axes(drawn)
    there = list(zip(mark["x"], mark["low"], strict=True))
    back = list(zip(mark["x"], mark["high"], strict=True))[::-1]
    points = pairs(path_of(drawn, "spread"))
    assert len(points) == 2 * len(mark["x"])
    assert all(axes.near(at, point) for at, point in zip(points, there + back, strict=True))


@pytest.mark.parametrize(("panel", "label"), [(1, "weights"), (5, "before")])
def test_bars(figure: Any, message: dict[str, Any], panel: int, label: str) -> None:
    drawn = figure.locator(f"[data-panel='{panel}']")
    mark, axes = mark_of(message, panel, label), Axes(drawn)
    boxes = drawn.locator(f'[data-mark="{label}"] rect').evaluate_all(
        "all => all.map(r => ['x', 'y', 'width', 'height'].map(n => Number(r.getAttribute(n))))"
    )
    assert len(boxes) == len(mark["at"])
    for (left, top, width, height), at, value in zip(boxes, mark["at"], mark["value"], strict=True):
        end = top if value > mark["base"] else top + height
        assert axes.near((left + width / 2, end), (at, value))
        foot = top + height if value > mark["base"] else top
        assert axes.near((left, foot), (at - mark["width"] / 2, mark["base"]))


def test_exact_zeros_are_crossed_and_others_are_not(figure: Any, message: dict[str, Any]) -> None:
    mark = mark_of(message, 1, "weights")
    bars = figure.locator("[data-panel='1'] [data-mark='weights'] [data-bar]")
    crossed = bars.evaluate_all(
        "all => all.map(bar => bar.dataset.crossed === 'true' && !!bar.querySelector('.cross').getAttribute('d'))"
    )
    assert crossed == [value == 0 for value in mark["value"]]
    assert sum(crossed) == 4


def test_rules(figure: Any) -> None:
    drawn = figure.locator("[data-panel='0']")
    axes = Axes(drawn)
    across = [float(n) for n in NUMBERS.findall(path_of(drawn, "best"))]
    assert axes.near((across[0], axes.y[2]), (0.6, axes.y[0]))
    upright = [float(n) for n in NUMBERS.findall(path_of(drawn, "bound"))]
    assert axes.near((axes.x[2], upright[1]), (axes.x[0], 1.1))


def test_intervals(figure: Any, message: dict[str, Any]) -> None:
    drawn = figure.locator("[data-panel='2']")
    mark, axes = mark_of(message, 2, "difference"), Axes(drawn)
    rows = drawn.locator("[data-interval]")
    assert rows.count() == len(mark["at"])
    for at in range(rows.count()):
        low, high = pairs(rows.nth(at).locator(".whisker").get_attribute("d"))[:2]
        assert axes.near(low, (mark["low"][at], mark["at"][at]))
        assert axes.near(high, (mark["high"][at], mark["at"][at]))
        left, top = pairs(rows.nth(at).locator(".middle").get_attribute("d").split("h")[0])[0]
        assert axes.near((left + 4, top + 4), (mark["middle"][at], mark["at"][at]))
        dots = re.findall(r"M(\S+) \S+?a2 ", rows.nth(at).locator(".points").get_attribute("d"))
        seen = [axes._back(axes.x, float(left) + 2) for left in dots]
        assert seen == pytest.approx(mark["points"][at], abs=axes._unit(axes.x, 1))


def test_a_square_panel_has_equal_units(figure: Any) -> None:
    axes = Axes(figure.locator("[data-panel='3']"))
    units = [abs(last - first) / (high - low) for low, high, first, last, _ in (axes.x, axes.y)]
    assert math.isclose(*units, rel_tol=1e-6)


def test_a_note_stands_at_its_place(figure: Any) -> None:
    drawn = figure.locator("[data-panel='0']")
    note = drawn.locator("[data-mark='here'] text")
    assert note.text_content() == "here"
    assert Axes(drawn).near((float(note.get_attribute("x")), float(note.get_attribute("y"))), (0.3, 0.5))


VISIBLE = """all => all.map(mark => {
  const shape = mark.querySelector('path[d]:not([d=""]), rect, text');
  const style = getComputedStyle(shape), surface = getComputedStyle(shape.closest('.card')).backgroundColor;
  const drawn = colour => colour !== 'none' && colour !== surface && !/^rgba.*, 0\\)$/.test(colour);
  const stroke = drawn(style.stroke) && parseFloat(style.strokeWidth) > 0 && Number(style.strokeOpacity) > 0;
  const fill = drawn(style.fill) && Number(style.fillOpacity) > 0;
  const box = shape.getBoundingClientRect();
  return [mark.dataset.mark, (stroke || fill) && Math.max(box.width, box.height) > 3 && style.visibility === 'visible'];
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_mark_can_be_seen(desk: Any, scheme: str) -> None:
    page = desk.open(color_scheme=scheme)
    seen = page.locator("poise-figure[data-figure=marks] [data-mark]").evaluate_all(VISIBLE)
    assert len(seen) > 20
    assert [name for name, visible in seen if not visible] == []


def test_marks_follow_the_width(desk: Any, message: dict[str, Any]) -> None:
    page = desk.open()
    drawn = page.locator("poise-figure[data-figure=marks] [data-panel='0']")
    before = path_of(drawn, "fit")
    page.set_viewport_size({"width": 420, "height": 900})
    page.wait_for_timeout(300)
    after = path_of(drawn, "fit")
    assert after != before
    mark, axes = mark_of(message, 0, "fit"), Axes(drawn)
    assert all(
        axes.near(at, point) for at, point in zip(pairs(after), zip(mark["x"], mark["y"], strict=True), strict=True)
    )


def test_a_change_moves_only_what_it_touches(desk: Any, settled: Callable[..., None]) -> None:
    page = desk.open()
    page.evaluate(
        """() => {
          window.touched = new Set();
          const figure = document.querySelector('poise-figure[data-figure=marks]');
          new MutationObserver(all => all.forEach(one => {
            const mark = one.target.closest?.('[data-mark]');
            if (mark) window.touched.add(mark.dataset.mark);
          })).observe(figure.querySelector('[data-part=panels]'), {subtree: true, childList: true, attributes: true});
        }"""
    )
    settled(page, "marks", lambda: page.locator("#marks [data-control=power]").press("ArrowRight"))
    touched = set(page.evaluate("[...window.touched]"))
    assert {"fit", "spread"} <= touched
    assert not touched & {"truth", "data", "weights", "difference", "disc", "before"}
