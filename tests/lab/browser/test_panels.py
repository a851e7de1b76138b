"""The panels other than plots draw what Python sent."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest
from drawn_figures import Others


def message_of(**values: Any) -> dict[str, Any]:
    figure = Others()
    state = figure.checked(values)
    return figure.message(state, figure.compute(state))


@pytest.fixture
def page(desk: Any) -> Any:
    return desk.open("/f/others")


def dropped_of(page: Any) -> list[list[bool]]:
    found = page.locator("#others [data-unit]").evaluate_all(
        "all => all.map(unit => [unit.dataset.unit, unit.dataset.dropped === 'true'])"
    )
    layers: dict[int, list[bool]] = {}
    for place, dropped in found:
        layers.setdefault(int(place.split(":")[0]), []).append(dropped)
    return [layers[layer] for layer in sorted(layers)]


def mask_of(message: dict[str, Any]) -> list[list[bool]]:
    return [[unit["dropped"] for unit in layer] for layer in message["panels"][0]["layers"]]


def test_grey_units_are_those_that_the_mask_drops(page: Any) -> None:
    assert dropped_of(page) == mask_of(message_of())
    dropped = page.locator("#others [data-dropped=true]").first
    circle, cross = dropped.locator("circle"), dropped.locator(".cross")
    zero = page.evaluate(
        """() => { const probe = document.createElement('i');
             probe.style.color = 'var(--zero)';
             document.querySelector('.card').append(probe);
             return getComputedStyle(probe).color }"""
    )
    look = "one => { const style = getComputedStyle(one); return [style.stroke, style.strokeDasharray] }"
    assert circle.evaluate(look)[0] == zero
    assert circle.evaluate(look)[1] != "none"
    assert cross.get_attribute("d")
    assert page.locator("#others [data-unit]:not([data-dropped]) .cross[d]").count() == 0


@pytest.mark.parametrize("how", ["click", "Enter", "Space"])
def test_a_press_draws_the_next_mask(page: Any, settled: Callable[..., None], how: str) -> None:
    drawing = page.locator("#others [data-panel='0'] .drawing")
    settled(page, "others", drawing.click if how == "click" else lambda: drawing.press(how))
    assert dropped_of(page) == mask_of(message_of(seed=1))
    assert dropped_of(page) != mask_of(message_of())
    assert page.locator("#others [data-control=seed]").get_attribute("data-value") == "1"


def test_connections(page: Any) -> None:
    network = message_of()["panels"][0]
    edges = dict(
        page.locator("#others [data-edge]").evaluate_all(
            "all => all.map(edge => [edge.dataset.edge, edge.getAttribute('class')])"
        )
    )
    assert "0:0:0" not in edges, "a weight of 0 is not drawn"
    assert "off" in edges["0:0:1"], "a weight that is not a number is switched off"
    for layer, matrix in enumerate(network["edges"]):
        for to, row in enumerate(matrix):
            for source, weight in enumerate(row):
                off = network["layers"][layer][source]["dropped"] or network["layers"][layer + 1][to]["dropped"]
                if weight:
                    assert edges[f"{layer}:{source}:{to}"] == (
                        "edge off" if off else f"edge {'less' if weight < 0 else 'more'}"
                    )


def test_a_signed_grid_has_two_arms_and_crosses_what_is_no_number(page: Any) -> None:
    heat = message_of()["panels"][1]
    cells = page.locator("#others [data-panel='1'] .drawing [data-cell]")
    found = cells.evaluate_all(
        """all => all.map(cell => [cell.dataset.cell, cell.getAttribute('class'),
          Number(getComputedStyle(cell.querySelector('rect')).fillOpacity),
          cell.querySelector('.cross').hasAttribute('d')])"""
    )
    most = max(abs(value) for row in heat["values"] for value in row if value is not None)
    for place, kind, opacity, crossed in found:
        column, row = (int(part) for part in place.split(","))
        value = heat["values"][row][column]
        if value is None:
            assert (kind, crossed) == ("missing", True)
        else:
            assert not crossed
            assert kind == ("less" if value < 0 else "more")
            assert opacity == pytest.approx(abs(value) / most, abs=2e-3)
    assert page.locator("#others [data-panel='1'] .rings rect").count() == 1


def test_texts_in_cells_are_pythons(page: Any) -> None:
    texts = page.locator("#others [data-panel='2'] .cell-texts text").all_text_contents()
    assert texts == ["0.9", "0.1", "0.3", "0.7"]


def test_pictures_have_the_pixels_that_were_sent(page: Any) -> None:
    tiles = message_of()["panels"][3]["tiles"]
    canvases = page.locator("#others [data-tile] canvas")
    assert canvases.count() == len(tiles)
    for at, tile in enumerate(tiles):
        drawn = canvases.nth(at).evaluate(
            "one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]"
        )
        sent = base64.b64decode(tile["pixels"])
        pixels = [sent[i : i + tile["channels"]] for i in range(0, len(sent), tile["channels"])]
        wanted = [channel for pixel in pixels for channel in (*(pixel if len(pixel) == 3 else pixel * 3), 255)]
        assert drawn == wanted
        assert canvases.nth(at).get_attribute("aria-label") == tile["caption"]


def test_large_numbers(page: Any) -> None:
    items = message_of()["panels"][4]["items"]
    rows = page.locator("#others [data-panel='4'] dl > div")
    assert [rows.nth(at).locator("dt").text_content() for at in range(rows.count())] == [item[0] for item in items]
    assert [rows.nth(at).locator("dd.large").text_content() for at in range(rows.count())] == [
        item[1] for item in items
    ]


def test_parallel_coordinates(page: Any) -> None:
    panel = message_of()["panels"][5]
    drawn = page.locator("#others [data-panel='5']")
    assert drawn.locator(".member").count() == len(panel["values"])
    assert drawn.locator(".member.chosen").get_attribute("data-member") == "3"
    axis = [float(part) for part in re.findall(r"-?[\d.]+", drawn.locator("path.frame").nth(1).get_attribute("d"))]
    _, bottom, top = axis
    low, high = panel["axes"][1]["low"], panel["axes"][1]["high"]
    for member, values in enumerate(panel["values"]):
        points = re.findall(r"[ML](\S+) ([\d.]+)", drawn.locator(f"[data-member='{member}']").get_attribute("d"))
        y = float(points[1][1])
        assert low + (bottom - y) / (bottom - top) * (high - low) == pytest.approx(values[1], abs=2e-3)


def test_a_table_shows_text_as_text_and_only_links_of_the_lab(page: Any) -> None:
    table = page.locator("#others [data-panel='6'] table")
    assert table.locator("tbody tr").count() == 2
    assert table.locator("tbody tr").first.locator("td").first.text_content() == "<b>bold</b>"
    assert table.locator("b").count() == 0
    assert [link.get_attribute("href") for link in table.locator("a").all()] == ["/f/marks"]
