"""The whole chapter as a folder of files that opens from the disk: a page, its style, and the frames of each figure."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from poise.core.errors import ArgumentError, StudyError, shown
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Seed, State, Toggle, Value
from poise.lab.export.page import in_script, page_html, static_text
from poise.lab.export.store import Limits, Stored, stored
from poise.lab.section import Section, Show
from poise.study.atomic import write_text_atomic

__all__ = ["SITE_LIMITS", "export_site"]

SITE_LIMITS = Limits(frames=4000, bytes=2_000_000, seconds=20.0)  # of a figure; a chapter has some twenty
LINK = re.compile(r"\]\(#([^)\s]+)\)")
TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_]+)=([^&]*)")
TITLE = "Regularization, seen and felt"


def export_site(
    out: str | Path,
    figures: Mapping[str, Callable[[], Figure]],
    chapter: Sequence[Section],
    *,
    limits: Limits = SITE_LIMITS,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write `index.html` with the chapter, `frames/` with its figures, `figures/ID.html` with each one alone.

    Returns the page's path. Needs the extra `lab`, whose templates and Markdown it uses.

    Raises: ArgumentError if `out` is a folder with other things in it; StudyError if it cannot be written.
    """
    folder = _made(Path(out))
    used = list(dict.fromkeys(part.figure for section in chapter for part in section.body if isinstance(part, Show)))
    if missing := [id for id in used if id not in figures]:
        raise ArgumentError(f"`export_site.chapter` shows figures that there are not: {shown(missing)}.")
    kept: dict[str, Stored] = {}
    for at, id in enumerate(used, start=1):
        began = time.monotonic()
        figure = figures[id]()
        one = stored(figure, limits, also=_linked(figure, chapter))
        kept[id] = one
        script = f"(globalThis.poiseFrames??={{}})[{json.dumps(id)}]={json.dumps(one.text)};\n"
        write_text_atomic(folder / "frames" / f"{id}.js", script)
        write_text_atomic(folder / "figures" / f"{id}.html", page_html(one))
        tell(f"{at} of {len(used)}  {id}: {len(one.text) / 1e3:,.0f} kB in {time.monotonic() - began:.1f} s")
    write_text_atomic(folder / "lab.css", static_text("lab.css"))
    page = folder / "index.html"
    write_text_atomic(page, _page(chapter, kept))
    return page


def _linked(figure: Figure, chapter: Sequence[Section]) -> list[State]:
    """Return the states of a figure that links in the text set: `[degree 1](#poly.degree=1)`."""
    own = {control.name: control for control in figure.controls}
    found: list[State] = []
    for link in LINK.findall("\n".join(part for section in chapter for part in section.body if isinstance(part, str))):
        state: State = {}
        for key, name, text in TOKEN.findall(link):
            if key == figure.id and name in own:
                with contextlib.suppress(ArgumentError):  # what is not legal the page passes over, too
                    state[name] = own[name].check(_value(own[name], text))
        found += [state] if state else []
    return found


def _value(control: Control, text: str) -> Value:
    if isinstance(control, Toggle):
        return text == "true"
    if isinstance(control, Choice):
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return round(number) if isinstance(control, Seed) and number.is_integer() else number


def _page(chapter: Sequence[Section], kept: Mapping[str, Stored]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from poise.lab.catalog import Catalog

    environment = Environment(
        loader=PackageLoader("poise.lab", "templates"), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("site.html.j2")
    stored_page = {"figures": {id: {**one.data(), "file": f"frames/{id}.js"} for id, one in kept.items()}}
    return template.render(
        title=TITLE,
        kind="chapter",
        here="/",
        places=(),
        sections=Catalog({}, chapter).chapter()["sections"],
        figures={id: {"spec": one.spec, "sentence": one.sentence} for id, one in kept.items()},
        words={id: one.words for id, one in kept.items()},
        data=in_script({"page": "chapter", "figures": {id: one.spec for id, one in kept.items()}}),
        stored=in_script(stored_page),
        script=static_text("lab.js").replace("</script", "<\\/script"),
    )


def _made(folder: Path) -> Path:
    """Return the folder, made if need be; one that an export wrote before is written over."""
    try:
        if folder.exists() and (not folder.is_dir() or _foreign(folder)):
            raise ArgumentError(
                f"`--out` must be a new or empty folder, or one of an export; {shown(str(folder), 200)} holds other "
                "things. Name another."
            )
        for part in ("frames", "figures"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"`--out`: {shown(str(folder), 200)} cannot be written: {error.strerror}.") from error
    return folder


def _foreign(folder: Path) -> list[str]:
    return sorted(set(os.listdir(folder)) - {"index.html", "lab.css", "frames", "figures"})
