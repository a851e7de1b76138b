"""The pages of runs in Chromium: Python's numbers on screen, a log that grows before the eyes, harmless names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the server is in the extra `lab`")

from poise.lab.runs import Library
from poise.lab.server.lab import Lab
from poise.lab.server.serve import running

EVIL = ["<img src=x onerror=alert(1)>", "<script>alert(2)</script>", '"><svg onload=alert(3)>', "javascript:alert(4)"]
PATIENCE = 60_000  # ms; the first page waits until the server has imported torch


@pytest.fixture(scope="module")
def places(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies, a log that will grow, and one whose every name is a script."""
    root = tmp_path_factory.mktemp("places")
    shutil.copytree(two / "one", root / "one")
    shutil.copytree(two / "deep" / "two", root / "two")
    (root / "log.jsonl").write_text('{"step": 1, "train_loss": 2.0, "val_loss": 3.0}\n' * 2)
    evil = root / EVIL[0].replace("/", "_")
    shutil.copytree(two / "one", evil)
    result = json.loads((evil / "result.json").read_text())
    result |= {"table": EVIL[1], "target": EVIL[2], "finding": EVIL[1], "warnings": EVIL, "receipt": EVIL[1]}
    result["recipe_yaml"] = EVIL[1]
    result["metrics"] = [metric | {"label": EVIL[at % 4]} for at, metric in enumerate(result["metrics"])]
    result["contributions"] = [one | {"part": EVIL[at % 4]} for at, one in enumerate(result["contributions"])]
    result["arms"] = [arm | {"name": EVIL[at % 4] + str(at)} for at, arm in enumerate(result["arms"])]
    result["trials"] = [
        trial | {"dials": {EVIL[at % 4] + str(at): value for at, value in enumerate(trial["dials"].values())}}
        for trial in result["trials"]
    ]
    (evil / "result.json").write_text(json.dumps(result))
    return root


@pytest.fixture(scope="module")
def own(places: Path) -> Iterator[Any]:
    with running(Lab([str(places)])) as server:
        yield server


@pytest.fixture
def page(browser: Any, own: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(PATIENCE)
    found = context.new_page()
    faults: list[str] = []
    base = (f"http://127.0.0.1:{own.port}/", f"ws://127.0.0.1:{own.port}/", "data:", "blob:")
    found.on("dialog", lambda dialog: (faults.append(f"a script ran: {dialog.message}"), dialog.dismiss()))
    found.on("pageerror", lambda error: faults.append(f"error: {error}"))
    found.on("request", lambda asked: asked.url.startswith(base) or faults.append(f"request to {asked.url}"))
    yield found
    context.close()
    assert not faults, faults


def run_of(places: Path, name: str) -> str:
    return next(line.id for line in Library([places]).runs() if line.place == name)


def drawn(page: Any) -> None:
    page.locator("poise-figure[data-ready]").first.wait_for()
    page.locator("poise-figure:not([data-ready])").first.wait_for(state="detached")


def on_screen(page: Any, key: str) -> dict[str, tuple[str, float]]:
    found = {}
    for one in page.locator(f"poise-figure#{key} [data-number]").all():
        found[one.get_attribute("data-number")] = (one.inner_text(), float(one.get_attribute("data-value")))
    return found


def test_the_numbers_of_a_study_s_page_are_python_s(page: Any, own: Any, places: Path) -> None:
    library, run = Library([places]), run_of(places, "one")
    page.goto(own.address(f"/runs/{run}"))
    drawn(page)
    found = library.page(run)
    assert found is not None
    assert [one.get_attribute("id") for one in page.locator("poise-figure").all()] == list(found.figures)
    for name in found.figures:
        figure = library.figure(name, [run])
        frame = figure.compute(figure.checked(figure.start()))
        assert on_screen(page, name) == {n.label: (n.text, float(f"{n.value:.17g}")) for n in frame.numbers}, name
    assert found.finding in page.locator("main").inner_text()


def test_two_studies_side_by_side_in_the_page(page: Any, own: Any, places: Path) -> None:
    one, two = run_of(places, "one"), run_of(places, "two")
    page.goto(own.address(f"/compare/{one}/{two}"))
    drawn(page)
    figure = Library([places]).figure("compare-scores", [one, two])
    frame = figure.compute(figure.start())
    assert {text for text, _ in on_screen(page, "compare-scores").values()} == {n.text for n in frame.numbers}


def test_a_log_that_grows_is_drawn_anew_without_being_asked(page: Any, own: Any, places: Path) -> None:
    page.goto(own.address(f"/runs/{run_of(places, 'log.jsonl')}"))
    drawn(page)
    assert on_screen(page, "run-loss")["lowest validation"][0] == "3"
    with open(places / "log.jsonl", "a") as file:
        file.write('{"step": 2, "train_loss": 1.0, "val_loss": 0.25}\n')
    page.locator('[data-number="lowest validation"]', has_text="0.25").wait_for()
    assert on_screen(page, "run-loss")["at step"] == ("2", 2.0)


@pytest.mark.parametrize("path", ["/runs", "/runs/{0}", "/compare/{0}/{1}"])
def test_no_name_becomes_a_script(page: Any, own: Any, places: Path, path: str) -> None:
    evil, one = run_of(places, EVIL[0].replace("/", "_")), run_of(places, "one")
    page.goto(own.address(path.format(evil, one)))
    if path != "/runs":
        drawn(page)
        folded = page.locator("poise-figure [aria-expanded=false]")
        while folded.count():
            folded.first.click()
    assert page.locator("main img, main script, main a[href^='javascript:']").count() == 0
    assert EVIL[1] in page.locator("body").inner_text()


def test_one_html_file_of_a_run_s_figure_works_alone(
    page: Any, own: Any, places: Path, browser: Any, tmp_path: Path
) -> None:
    page.goto(own.address(f"/runs/{run_of(places, 'one')}"))
    drawn(page)
    card = page.locator("poise-figure#run-gap")
    card.get_by_role("button", name="Export").click()
    with page.expect_download() as wanted:
        card.locator("[data-export=html]").click()
    path = tmp_path / "gap.html"
    wanted.value.save_as(path)
    assert wanted.value.suggested_filename == "run-gap.html"
    before = on_screen(page, "run-gap")
    context = browser.new_context(offline=True)
    alone = context.new_page()
    alone.goto(path.as_uri())
    alone.locator("poise-figure[data-ready]").wait_for(timeout=PATIENCE)
    assert on_screen(alone, "run-gap") == before
    context.close()
