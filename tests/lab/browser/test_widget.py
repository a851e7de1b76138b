"""The bundle as a notebook imports it: `render({model, el})` of anywidget's form, on a page that is not ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn_figures import Marks, Training

import poise.lab

expect = pytest.importorskip("playwright.sync_api", reason="playwright is in the extra `dev`").expect

STATIC = Path(poise.lab.__file__).parent / "static"
HOST = "http://notebook.test/"
# A model as anywidget gives it; what Python would answer is at hand for each state.
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>n</title>
<link rel="stylesheet" href="lab.css">
<style>h3 { font-weight: 400; } * { margin: 0; } button { all: unset; }</style></head>
<body>%s<div id="cell"></div><script type="module">
import lab from "./lab.js";
const facts = %s, handlers = {}, traits = {spec: facts.spec, of: [], state: {}, message: {}, action: {}};
const key = values => JSON.stringify(facts.names.map(name => values[name]));
const first = facts.frames[key(facts.start)];
window.events = []; window.outside = [];
document.addEventListener("keydown", event => window.outside.push(event.key));
const say = message => { traits.message = message; handlers["change:message"]?.forEach(call => call()); };
const model = {
  get: name => traits[name],
  set: (name, value) => { traits[name] = value; window.events.push([name, value]);
    if (name === "state") setTimeout(() => say({id: value.id, patch: {$set: facts.frames[key(value.values)]}}));
    if (name === "action" && value.op === "open") setTimeout(() => say({id: 0, patch: {$set: first}})); },
  on: (name, call) => (handlers[name] ??= []).push(call),
  off: (name, call) => handlers[name] = handlers[name].filter(one => one !== call),
  save_changes: () => {},
};
const cell = document.getElementById("cell"), el = document.createElement("div");
window.end = lab.render({model, el});  // rendered before it is attached, as JupyterLab does
setTimeout(() => cell.append(el), 150);
window.handlers = handlers;
</script></body></html>"""


def facts(figure: Any, states: list[dict[str, Any]]) -> dict[str, Any]:
    names = [control.name for control in figure.controls]
    whole = [figure.checked(state) for state in states]
    frames = {
        json.dumps([state[name] for name in names], separators=(",", ":"))
        .replace(".0,", ",")
        .replace(".0]", "]"): figure.message(state, figure.compute(state))
        for state in whole
    }
    return {"spec": figure.spec(), "names": names, "start": whole[0], "frames": frames}


@pytest.fixture
def notebook(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    faults: list[str] = []

    def show(figure: Any, states: list[dict[str, Any]], head: str = "", **media: Any) -> Any:
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        text = PAGE % (head, json.dumps(facts(figure, states)))

        def answer(route: Any) -> None:
            name = route.request.url.removeprefix(HOST)
            kinds = {"lab.js": "text/javascript", "lab.css": "text/css"}
            if name in kinds:
                route.fulfill(body=(STATIC / name).read_text(encoding="utf-8"), content_type=kinds[name])
            elif name == "":
                route.fulfill(body=text, content_type="text/html")
            else:
                faults.append(f"asked for {route.request.url}")
                route.abort()

        page.route("**/*", answer)
        page.emulate_media(**media)
        page.goto(HOST)
        expect(page.locator("[data-ready]")).to_have_count(1)
        return page

    yield show
    context.close()
    assert faults == []


def test_a_widget_draws_and_moves(notebook: Any) -> None:
    page = notebook(Marks(), [{}, {"power": 2.5}])
    slider = page.locator("[data-control=power]")
    slider.press("ArrowRight")
    expect(page.locator("[data-number='fit at 0.5']")).to_have_text(f"{0.5**2.5:.4f}")
    state = [value for name, value in page.evaluate("window.events") if name == "state"][-1]
    assert state["values"]["power"] == 2.5
    look = "one => [getComputedStyle(one).stroke, parseFloat(getComputedStyle(one).strokeWidth), one.getBBox().width]"
    stroke, width, size = page.locator("[data-mark=fit] path").evaluate(look)
    assert stroke == "rgb(0, 114, 178)", "drawn though it was rendered before it stood on the page"
    assert width >= 2
    assert size > 100


def test_keys_stay_in_the_widget(notebook: Any) -> None:
    page = notebook(Marks(), [{}, {"power": 2.5}])
    page.locator("[data-control=power]").press("ArrowRight")
    assert page.evaluate("window.outside") == []


def test_the_notebooks_styles_do_not_reach_in(notebook: Any) -> None:
    page = notebook(Marks(), [{}])
    assert int(page.locator("[data-part=title]").evaluate("one => getComputedStyle(one).fontWeight")) >= 600
    assert page.locator("[data-preset=cube]").evaluate("one => getComputedStyle(one).borderRadius") != "0px"


def test_the_widgets_styles_do_not_reach_out(notebook: Any) -> None:
    page = notebook(
        Marks(), [{}], head='<h1 id="theirs">Title</h1><p class="panel">words</p><button class="quiet">b</button>'
    )
    fresh = "one => { const style = getComputedStyle(one); return [style.fontFamily, style.display, style.color] }"
    assert page.locator("#theirs").evaluate(fresh)[2] == "rgb(0, 0, 0)"
    assert page.locator("p.panel").evaluate(fresh)[1] == "block"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"


@pytest.mark.parametrize(
    "mark",
    [
        "document.body.setAttribute('data-jp-theme-light', 'false')",
        "document.body.dataset.vscodeThemeKind = 'vscode-dark'",
        "document.documentElement.setAttribute('theme', 'dark')",
        "document.documentElement.classList.add('dark')",
        "document.body.classList.add('dark-theme')",
    ],
)
def test_the_notebooks_theme_goes_before_the_systems(notebook: Any, mark: str) -> None:
    page = notebook(Marks(), [{}], color_scheme="light")
    surface = "getComputedStyle(document.querySelector('.card')).backgroundColor"
    assert page.evaluate(surface) == "rgb(255, 255, 255)"
    page.evaluate(f"() => {{ {mark} }}")
    page.wait_for_timeout(100)
    assert page.evaluate(surface) == "rgb(22, 30, 38)"


def test_a_run_is_played_through_the_model(notebook: Any) -> None:
    page = notebook(Training(), [{}])
    page.locator("[data-action=play]").click()
    assert [value["op"] for name, value in page.evaluate("window.events") if name == "action"] == ["open", "play"]


def test_an_ended_widget_leaves_nothing_behind(notebook: Any) -> None:
    page = notebook(Marks(), [{}])
    page.evaluate("window.end()")
    assert page.locator("#cell .poise-lab").count() == 0
    assert page.evaluate("window.handlers['change:message'].length") == 0
