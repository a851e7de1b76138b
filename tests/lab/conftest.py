"""A browser and a running lab for every test below this folder. Without Chromium they skip; CI must have it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
# The modules of figures that the tests have served: a process of the server imports them by name.
for folder in (HERE / "browser", HERE / "server"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
PATIENCE = 20_000  # ms that a test waits for what must come; machines that run tests are slow


def chromium_path() -> str:
    """Where Debian's Chromium is; a test that needs it skips where it is not, but never in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    reason = "Chromium is not installed; `apt-get install chromium`, or `make install-dev` as root, brings it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


# Of a module, not of the session: its event loop must not run while tests of another module use asyncio.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    path = chromium_path()
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in the extra `dev`")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@dataclass
class Desk:
    """A browser before a running lab. What a page does wrong is found when the desk is cleared."""

    browser: Any
    server: Any
    faults: list[str] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    def open(self, path: str = "/", width: int = 1100, height: int = 900, ready: bool = True, **options: Any) -> Any:
        """Return a page of the lab in a browser context of its own, with the figures that it shows drawn."""
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        self.stack.callback(context.close)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        self.watch(page)
        page.goto(self.server.address(path))
        if ready:
            self.wait(page)
        return page

    def watch(self, page: Any) -> None:
        """Note errors of the page, and every request to another place than the lab."""
        own = (f"http://127.0.0.1:{self.server.port}/", f"ws://127.0.0.1:{self.server.port}/", "data:", "blob:")
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", lambda said: said.type == "error" and self.faults.append(f"console: {said.text}"))
        page.on("request", lambda asked: asked.url.startswith(own) or self.faults.append(f"request to {asked.url}"))
        page.on("websocket", lambda made: made.url.startswith(own) or self.faults.append(f"websocket to {made.url}"))

    @staticmethod
    def wait(page: Any) -> None:
        """Wait until every figure that is shown is drawn."""
        from playwright.sync_api import expect

        expect(page.locator("poise-figure:not([data-ready]):not([hidden])")).to_have_count(0, timeout=PATIENCE)


def settled(page: Any, key: str, act: Callable[[], object]) -> None:
    """Do something that moves a figure, and wait until an answer to it is drawn."""
    figure = page.locator(f"poise-figure#{key}")
    before = int(figure.get_attribute("data-id"))
    act()
    page.locator(f"poise-figure#{key}:not([data-id='{before}'])").wait_for(timeout=PATIENCE)
    page.wait_for_timeout(60)  # the newest of several


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A running lab with the figures of the module named by the test module's SOURCE."""
    pytest.importorskip("starlette", reason="the server is in the extra `lab`")
    from poise.lab.server.lab import Lab
    from poise.lab.server.serve import running

    with running(Lab(source=getattr(request.module, "SOURCE", "drawn_figures"))) as server:
        yield server


@pytest.fixture
def desk(browser: Any, served: Any) -> Iterator[Desk]:
    """The browser before the lab; fails when a page made an error or asked another machine."""
    own = Desk(browser, served)
    yield own
    own.stack.close()
    assert not own.faults, "\n".join(own.faults)


@pytest.fixture(name="settled")
def _settled() -> Callable[[Any, str, Callable[[], object]], None]:
    return settled
