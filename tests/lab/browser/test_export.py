"""What a reader takes along holds what was seen."""

from __future__ import annotations

import csv
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from drawn_figures import Marks, Others

SVG = "{http://www.w3.org/2000/svg}"


def saved(page: Any, figure: str, kind: str) -> bytes:
    page.locator(f"#{figure}").get_by_role("button", name="Export", exact=True).click()
    with page.expect_download() as waiting:
        page.locator(f"#{figure} [data-export={kind}]").click()
    name = waiting.value.suggested_filename
    assert name == f"{figure}.{kind}"
    return Path(waiting.value.path()).read_bytes()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_svg_has_its_colours_in_it(desk: Any, scheme: str) -> None:
    page = desk.open("/f/marks", color_scheme=scheme)
    text = saved(page, "marks", "svg").decode()
    root = ET.fromstring(text)
    assert not [one for one in root.iter() if one.get("class") or one.get("style")]
    assert "var(" not in text
    assert "light-dark" not in text
    drawn = [one.get("d") for one in root.iter(f"{SVG}path")]
    shown = page.locator("#marks [data-mark='fit of others'] path").get_attribute("d")
    fit = next(one for one in root.iter(f"{SVG}path") if one.get("d") == shown)
    assert shown in drawn
    assert fit.get("stroke") == {"light": "rgb(0, 114, 178)", "dark": "rgb(90, 180, 232)"}[scheme]
    words = " ".join("".join(one.itertext()) for one in root.iter(f"{SVG}text"))
    assert Marks.title.split()[0] in words
    assert "At 0.5 the fit of power 2" in words


def _pixels(png: bytes) -> tuple[int, int, set[bytes]]:
    """Width, height and the distinct colours of an 8-bit PNG with alpha."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, width, height = 8, b"", 0, 0
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 6)
        elif kind == b"IDAT":
            data += body
        at += size + 12
    rows, seen, stride = zlib.decompress(data), set(), 4 * width
    before = bytes(stride)
    for row in range(height):
        start = row * (stride + 1)
        filter_, line = rows[start], bytearray(rows[start + 1 : start + 1 + stride])
        for i in range(stride):
            left, up, corner = (line[i - 4], before[i], before[i - 4]) if i >= 4 else (0, before[i], 0)
            if filter_ == 1:
                line[i] = (line[i] + left) & 255
            elif filter_ == 2:
                line[i] = (line[i] + up) & 255
            elif filter_ == 3:
                line[i] = (line[i] + (left + up) // 2) & 255
            elif filter_ == 4:
                far = [abs(left + up - corner - side) for side in (left, up, corner)]
                line[i] = (line[i] + (left, up, corner)[far.index(min(far))]) & 255
        before = bytes(line)
        seen |= {before[i : i + 3] for i in range(0, stride, 4)}
    return width, height, seen


def test_the_png_shows_the_drawing(desk: Any) -> None:
    page = desk.open("/f/slow")
    width, height, colours = _pixels(saved(page, "slow", "png"))
    assert width > 600
    assert height > 400
    assert bytes((0, 114, 178)) in colours, "the line"
    assert bytes((255, 255, 255)) in colours, "the ground"
    assert len(colours) > 20, "the words"


def test_the_csv_holds_the_table_and_no_formula(desk: Any) -> None:
    page = desk.open("/f/others")
    rows = list(csv.reader(io.StringIO(saved(page, "others", "csv").decode())))
    assert rows == [["name", "share"], ["<b>bold</b>", "0.5"], ["'=1+1", "0.25"]]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_cells_that_begin_like_formulas_are_led_by_an_apostrophe(desk: Any, first: str) -> None:
    page = desk.open("/f/slow")
    # The table of the frame, as Python might send it, through the button that a reader presses.
    page.evaluate(
        """first => { window.saved = []; const make = URL.createObjectURL;
          URL.createObjectURL = blob => { window.saved.push(blob); return make(blob); };
          JSON.parse = (parse => text => { const found = parse(text);
            const hostile = {columns: ['a'], rows: [[first + '1+1'], [-1]], title: '', links: []};
            if (found.patch) (found.patch.$keys ??= {}).table = {$set: hostile};
            return found; })(JSON.parse); }""",
        first,
    )
    figure = page.locator("#slow")
    figure.locator("[data-control=value]").press("End")
    figure.locator("[data-number=value]", has_text="100").wait_for()
    figure.get_by_role("button", name="Export", exact=True).click()
    figure.locator("[data-export=csv]").click()
    text = page.evaluate("window.saved[0].text()")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[1] == [f"'{first}1+1"]
    assert rows[2] == ["-1"], "a number is a number"


def test_the_json_holds_the_frame_and_its_state(desk: Any) -> None:
    page = desk.open("/f/others#others.seed=3")
    found = json.loads(saved(page, "others", "json"))
    figure = Others()
    state = figure.checked(found["state"])
    assert state["seed"] == 3
    assert found["frame"] == json.loads(json.dumps(figure.message(state, figure.compute(state))))
