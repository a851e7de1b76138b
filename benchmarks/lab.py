"""The lab in a browser: slider to paint, what a page weighs, and when its first figure lives.

    python benchmarks/lab.py            # prints, and stores benchmarks/results/lab.json
    python benchmarks/lab.py --smoke    # 5 changes each, stores nothing

A change is one arrow key on a slider. It is painted at the end of the first frame after the figure's drawing changed:
from the keydown, caught before the page sees it, to a message posted in the animation frame after the mutation. The
second row moves the same slider while another figure of the page trains a network and draws it. Aims: 16.7 ms median
and 50 ms at the 95th percentile in both, under 100 kB, under 300 ms to the first figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from poise.lab.server.lab import Lab
from poise.lab.server.serve import running

RESULT = Path(__file__).parent / "results" / "lab.json"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FIGURE, CONTROL, TRAINING = "poly", "degree", "stopping"

# Runs before the page's own script: notes when the first figure is ready, and times changes.
PROBE = """
window.probe = {ready: null, times: []};
new MutationObserver(() => {
  if (window.probe.ready === null && document.querySelector('poise-figure[data-ready=true]')) {
    window.probe.ready = performance.now();
  }
}).observe(document, {subtree: true, attributes: true, attributeFilter: ['data-ready']});
window.probe.time = id => {
  let from = null;
  const panels = document.querySelector(`#${id} [data-part=panels]`);
  addEventListener('keydown', () => { from = performance.now(); }, true);
  new MutationObserver(() => {
    if (from === null) return;
    const start = from;
    from = null;
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => window.probe.times.push(performance.now() - start);
      channel.port2.postMessage(0);
    });
  }).observe(panels, {subtree: true, childList: true, attributes: true, attributeFilter: ['d']});
};
"""


def _changes(page: Page, count: int) -> dict[str, float]:
    """Press an arrow key `count` times at random moments of the screen's frames, and sum up the times.

    Nothing asks the page meanwhile: a question every few milliseconds, as an earlier version had it, runs on the page's
    own thread and made each change wait for one frame more. Every change must have been painted.
    """
    page.locator(f"#{FIGURE} [data-control={CONTROL}]").focus()
    before, pause = page.evaluate("window.probe.times.length"), random.Random(0)
    for at in range(count):
        page.keyboard.press("ArrowLeft" if (at // 8) % 2 == 0 else "ArrowRight")
        page.wait_for_timeout(pause.uniform(100, 220))
    page.wait_for_timeout(1000)
    times = sorted(page.evaluate("window.probe.times")[before:])
    if len(times) < count:
        raise SystemExit(f"only {len(times)} of {count} changes were painted one by one; the machine is too busy.")
    return {
        "median ms": round(statistics.median(times), 1),
        "p95 ms": round(times[min(len(times) - 1, int(0.95 * len(times)))], 1),
        "changes": len(times),
    }


def _load(page: Page, address: str) -> dict[str, float]:
    """Open the chapter with an empty cache, and say what came over the wire until its first figure lived."""
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    sizes: list[float] = []
    client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(address)
    expect(page.locator(f"#{FIGURE}[data-ready=true]")).to_have_count(1, timeout=60_000)
    return {
        "ms to the first figure": round(page.evaluate("window.probe.ready")),
        "kB": round(sum(sizes) / 1000, 1),
        "requests": len(sizes),
    }


def measure(changes: int, loads: int) -> dict[str, Any]:
    """Return what is measured, on the chapter as it is."""
    path = shutil.which("chromium") or "/usr/bin/chromium"
    with running(Lab()) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        found: list[dict[str, float]] = []
        for _ in range(loads):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            page.goto(server.address("/runs"))  # the cookie; the chapter's files are not in its cache yet
            client = context.new_cdp_session(page)
            client.send("Network.clearBrowserCache")
            page.add_init_script(PROBE)
            found.append(_load(page, f"http://127.0.0.1:{server.port}/"))
            if len(found) < loads:
                context.close()
        expect(page.locator("poise-figure:not([data-ready])")).to_have_count(0, timeout=120_000)
        page.evaluate("id => window.probe.time(id)", FIGURE)
        idle = _changes(page, changes)
        page.locator(f"#{TRAINING} [data-action=play]").click()
        # A run that ends is played again, from the page, for as long as changes are counted.
        page.evaluate(
            """id => setInterval(() => {
              const bar = document.querySelector(`#${id} .play-bar`);
              if (bar.dataset.playing !== 'true') bar.querySelector('[data-action=play]').click();
            }, 50)""",
            TRAINING,
        )
        busy = _changes(page, changes)
        browser.close()
    load = {name: round(statistics.median(one[name] for one in found), 1) for name in found[0]}
    return {"idle": idle, "while a network trains": busy, "page": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    found = measure(5, 1) if options.smoke else measure(50, 5)
    for name, values in found.items():
        print(f"{name:24}", "  ".join(f"{key} {value:g}" for key, value in values.items()))
    if not options.smoke:
        facts = {"processors": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "system": platform.system()}
        RESULT.write_text(json.dumps({**found, "machine": facts}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
