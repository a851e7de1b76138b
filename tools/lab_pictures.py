"""Take the pictures of the lab that docs/lab.md and the README show: every section, light, dark and on a phone.

python tools/lab_pictures.py            # needs Debian's Chromium; writes docs/images/lab/
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "lab"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
GUISES: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1180, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1180, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
WIDTH = {"light": 900, "dark": 900, "phone": 390}  # of the stored picture


def started() -> tuple[subprocess.Popen[str], str]:
    """Start the lab and return it with the address that it prints."""
    command = [sys.executable, "-m", "poise.cli", "lab", "--no-browser"]
    lab = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert lab.stdout is not None
    for line in lab.stdout:
        if found := re.search(r"http://\S+", line):
            return lab, found[0]
    raise SystemExit("the lab said no address")


def ready(page: Page) -> None:
    """Bring every figure into view, so that each is computed and painted."""
    for figure in page.query_selector_all("poise-figure"):
        figure.scroll_into_view_if_needed()
        name = figure.get_attribute("data-figure")
        page.wait_for_selector(f"poise-figure[data-figure={name}][data-ready=true]", timeout=60_000)
    page.evaluate("window.scrollTo(0, 0)")
    # The bar that stays at the top would stand in the middle of a tall picture.
    page.evaluate("document.querySelector('body > header').style.position = 'static'")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for guise, options in GUISES.items():
            lab, address = started()
            try:
                page = browser.new_context(**options).new_page()
                page.goto(address)
                ready(page)
                for section in page.query_selector_all("main section[id]"):
                    name = section.get_attribute("id")
                    picture = Image.open(io.BytesIO(section.screenshot())).convert("RGB")
                    height = round(picture.height * WIDTH[guise] / picture.width)
                    small = picture.resize((WIDTH[guise], height), Image.Resampling.LANCZOS)
                    small.save(OUT / f"{name}-{guise}.webp", quality=66, method=6)
                    print(f"{name}-{guise}: {small.width} x {small.height}")
            finally:
                lab.terminate()
                lab.wait()
        browser.close()


if __name__ == "__main__":
    main()
