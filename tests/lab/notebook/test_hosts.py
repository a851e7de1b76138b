"""The widget in JupyterLab and in marimo, in a real browser: drawn, moved by keys, and nothing leaves the machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import poise
from poise.lab.shown import figure

ROOT = Path(poise.__file__).resolve().parents[1]  # the kernel imports the poise that is tested
START = 120  # seconds in which a server must answer; machines that run tests are slow
PATIENCE = 90_000  # ms for a kernel to start and import torch

CELL = "import poise.lab\nfig = poise.lab.figure('poly')\nfig"
MARIMO = """
import marimo

app = marimo.App()


@app.cell
def _():
    import poise.lab

    poise.lab.figure("poly")
    return
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Server:
    """A notebook's server in a process of its own, with all that it writes in a folder of the test."""

    def __init__(self, folder: Path, port: int, *command: str) -> None:
        names = {"XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "IPYTHONDIR"}
        names |= {f"JUPYTER_{name}_DIR" for name in ("CONFIG", "DATA", "RUNTIME")}
        own = {name: str(folder / "own" / name.lower()) for name in names}
        self.port, self.said = port, folder / "said.txt"
        with open(self.said, "w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env=os.environ | own | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        until = time.monotonic() + START
        while time.monotonic() < until and self.process.poll() is None:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)  # until it listens; there is nothing to wait on
        pytest.fail(f"the server did not start: {self.said.read_text()[-2000:]}")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


@pytest.fixture
def jupyter(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("jupyterlab", reason="JupyterLab is in the extra `dev`")
    cell = {"cell_type": "code", "id": "a", "execution_count": None, "metadata": {}, "outputs": [], "source": CELL}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "x.ipynb").write_text(json.dumps(notebook))
    port = free_port()
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.token=test", "--ServerApp.port_retries=0"]
    server = Server(tmp_path, port, "jupyter", "lab", *options)
    try:
        server.wait()
        yield f"http://127.0.0.1:{port}/lab/tree/x.ipynb?token=test&reset"
    finally:
        server.end()


@pytest.fixture
def marimo(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("marimo", reason="marimo is in the extra `dev`")
    (tmp_path / "x.py").write_text(MARIMO)
    port = free_port()
    server = Server(tmp_path, port, "marimo", "-y", "run", "x.py", "--headless", "--no-token", f"--port={port}")
    try:
        server.wait()
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.end()


def opened(browser: Any, address: str, faults: list[str]) -> Any:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)
    own = re.compile(r"^(http|ws)://(127\.0\.0\.1|localhost)[:/]|^(data|blob):")
    page.on("request", lambda asked: own.match(asked.url) or faults.append(f"request to {asked.url}"))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.goto(address)
    return page


def moved(page: Any) -> None:
    """The widget shows Python's numbers, the arrow keys move its slider, and its curves can be seen."""
    from playwright.sync_api import Error

    try:
        page.locator(".poise-widget [data-ready=true]").wait_for()
    except Error:
        pytest.fail(f"no figure was drawn: {page.locator('body').inner_text()[-2000:]}")
    shown = figure("poly")
    slider = page.locator(".poise-widget [data-control=degree]")
    start = int(float(slider.get_attribute("data-value")))
    assert page.locator(".poise-widget [data-part=sentence]").inner_text() == shown.sentence()
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expected = shown.frame(degree=start - 1)
    first = expected.numbers[0]
    # Of the locator's own kind: it looks into marimo's shadow roots too.
    text = page.locator(
        f'.poise-widget [data-number="{first.label}"]', has_text=re.compile(f"^{re.escape(first.text)}$")
    )
    text.wait_for()
    assert slider.get_attribute("data-value") == str(start - 1)
    curve = page.locator(".poise-widget [data-mark] path").first
    seen = curve.evaluate(
        "e => { const s = getComputedStyle(e); return [s.stroke, parseFloat(s.strokeWidth), e.getBBox().width]; }"
    )
    assert seen[0] not in ("none", "rgba(0, 0, 0, 0)", ""), "a curve without a visible stroke"
    assert seen[1] > 0.5
    assert seen[2] > 100


def test_the_widget_lives_in_jupyterlab(browser: Any, jupyter: str) -> None:
    faults: list[str] = []
    page = opened(browser, jupyter, faults)
    cell = page.locator(".jp-Notebook .jp-Cell .cm-content").first
    cell.wait_for()
    page.get_by_text(re.compile(r"\| Idle")).wait_for()  # a cell that is run before the kernel is there is forgotten
    cell.click()
    page.keyboard.press("Shift+Enter")
    moved(page)
    page.close()
    assert not [fault for fault in faults if fault.startswith("request")], faults


def test_the_widget_lives_in_marimo(browser: Any, marimo: str) -> None:
    faults: list[str] = []
    page = opened(browser, marimo, faults)
    moved(page)
    page.close()
    assert not faults
