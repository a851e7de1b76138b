"""One figure as one HTML file: the page's own style and script, the frames, and no request to anywhere."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from poise.core.errors import StudyError
from poise.lab.export.store import Stored

__all__ = ["in_script", "page_html", "static_text"]

STATIC = Path(__file__).resolve().parents[1] / "static"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def static_text(name: str) -> str:
    """Return the lab's script or style. Raises StudyError if this installation lacks it."""
    try:
        return (STATIC / name).read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{name} is not installed with poise: {error.strerror}. Install poise anew.") from error


def in_script(value: Any) -> str:
    """Return JSON that no text in it can end the script element early."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def page_html(stored: Stored, *, note: str = "") -> str:
    """Return a page of one figure that works from a file, without a server and without a network."""
    spec = stored.spec
    title = str(spec["title"])
    data = {"page": "figure", "figures": {spec["id"]: spec}}
    frames = {"figures": {spec["id"]: {**stored.data(), "text": stored.text}}}
    script = static_text("lab.js").replace("</script", "<\\/script")
    words = " ".join(part for part in (stored.words, note) if part)
    tries = "".join(f"<li>{escape(one)}</li>" for one in spec["tries"])
    caption = f"<p>{escape(spec['caption'])}</p>" if spec["caption"] else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)} · poise lab</title>\n<style>{static_text('lab.css')}</style>\n</head>\n"
        '<body data-page="figure">\n<header class="top"><span class="brand">poise lab</span></header>\n'
        f'<main id="main" tabindex="-1">\n<h1>{escape(title)}</h1>\n'
        f'<poise-figure data-figure="{escape(spec["id"])}" data-of="" id="{escape(spec["id"])}">\n'
        f"<h2>{escape(title)}</h2>{caption}<p>{escape(stored.sentence)}</p>\n</poise-figure>\n"
        + (f'<section class="tries"><h2>Predict, then look</h2><ul>{tries}</ul></section>\n' if tries else "")
        + f'<p class="prose stored">{escape(words)}</p>\n</main>\n'
        f'<script type="application/json" id="poise-page">{in_script(data)}</script>\n'
        f'<script type="application/json" id="poise-static">{in_script(frames)}</script>\n'
        f'<script type="module">{script}</script>\n</body>\n</html>\n'
    )
