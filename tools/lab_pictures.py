"""Take pictures of the lab: every section of the chapter, light, dark and as on a phone, and the presenter's mode.

    python tools/lab_pictures.py [FOLDER]      # docs/lab unless given

Needs Chromium. Run it when the page or a figure has changed, look at the pictures, then commit those that the
documents show.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from poise.lab.server.lab import Lab
from poise.lab.server.serve import Server, running

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "lab"
SCREENS = {"light": (1440, 900, "light"), "dark": (1440, 900, "dark"), "phone": (390, 844, "light")}


def _opened(browser: Browser, server: Server, path: str, width: int, height: int, scheme: str) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(server.address(path))
    expect(page.locator("poise-figure:not([data-ready]):not([hidden])")).to_have_count(0, timeout=120_000)
    page.wait_for_timeout(300)
    return page


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = shutil.which("chromium")
    with running(Lab()) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name, (width, height, scheme) in SCREENS.items():
            page = _opened(browser, server, "/", width, height, scheme)
            page.screenshot(path=folder / f"top-{name}.png")
            page.evaluate("document.querySelector('header.top').style.position = 'static'")  # not across the pictures
            for section in page.locator("main > section").all():
                section.screenshot(path=folder / f"{section.get_attribute('id')}-{name}.png")
            page.close()
        page = _opened(browser, server, "/present", 1920, 1080, "light")
        page.screenshot(path=folder / "present-light.png")
        browser.close()
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")


if __name__ == "__main__":
    main()
