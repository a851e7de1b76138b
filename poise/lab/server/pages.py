"""The pages, written by the server: all that is said can be read without JavaScript."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from poise.core.errors import PoiseError
from poise.lab.server.messages import FIGURE, RUN

if TYPE_CHECKING:
    from poise.lab.server.lab import Lab

__all__ = ["Pages"]

FOLDER = Path(__file__).resolve().parents[1]
PLACES = (("/", "Chapter"), ("/runs", "Your runs"), ("/present", "Present"))
TITLE = "Regularization, seen and felt"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
Answer = Callable[[Request], Awaitable[Response]]


class Pages:
    """The pages of a lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        # Autoescape is on for every name: what is not markup of ours is text.
        self.environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined
        )
        self.environment.policies["json.dumps_kwargs"] = {"allow_nan": False}  # and in the order of the page

    def routes(self) -> list[Route]:
        """Return the routes; ids in them are matched in full before anything is looked up."""
        addresses: dict[str, Answer] = {
            "/": self.chapter,
            "/f/{id}": self.figure,
            "/present": self.present,
            "/runs": self.runs,
            "/runs/{id}": self.run,
            "/compare/{first}/{second}": self.compare,
            "/static/{name}": self.static,
        }
        return [Route(address, self._told(answer), methods=["GET"]) for address, answer in addresses.items()]

    # ---- the chapter ----

    async def chapter(self, _request: Request) -> Response:
        """The chapter, to be read from top to bottom."""
        return self._chapter("chapter", "/")

    async def present(self, _request: Request) -> Response:
        """The chapter's figures one by one, for a class."""
        return self._chapter("present", "/present")

    def _chapter(self, kind: str, here: str) -> Response:
        sections = self.lab.chapter["sections"]
        shown = [part["figure"] for section in sections for part in section["body"] if "figure" in part]
        figures = {id: self._of_chapter(id) for id in shown}
        contents = [(section["id"], section["title"]) for section in sections]
        return self._page(kind, here, TITLE, sections, figures, contents)

    async def figure(self, request: Request) -> Response:
        """One figure, large."""
        id = request.path_params["id"]
        if not FIGURE.fullmatch(id) or id not in self.lab.chapter["figures"]:
            return self._missing()
        figures = {id: self._of_chapter(id)}
        tries = figures[id]["spec"]["tries"]
        sections = [{"id": "", "title": "", "body": [{"figure": id}]}]
        title = figures[id]["spec"]["title"]
        return self._page("figure", f"/f/{id}", title, sections, figures) if tries is not None else self._missing()

    def _of_chapter(self, id: str) -> dict[str, Any]:
        frame = self.lab.at_rest(id)
        return {"spec": self.lab.chapter["figures"][id], "sentence": frame["sentence"] if frame else ""}

    # ---- the user's runs ----

    async def runs(self, _request: Request) -> Response:
        """The list of runs."""
        await self.lab.find_runs()
        return await self._of_runs("runs", "/runs")

    async def run(self, request: Request) -> Response:
        """One run."""
        return await self._of_runs("run", "/runs", request.path_params["id"])

    async def compare(self, request: Request) -> Response:
        """Two runs side by side."""
        return await self._of_runs("compare", "/runs", request.path_params["first"], request.path_params["second"])

    async def _of_runs(self, kind: str, here: str, *of: str) -> Response:
        if not all(RUN.fullmatch(id) for id in of):
            return self._missing()
        if any(id not in self.lab.runs for id in of):
            await self.lab.find_runs()  # as after a restart of the server
        if any(id not in self.lab.runs for id in of):
            return self._missing()
        page = await self.lab.page(kind, of)
        if "error" in page:
            return self._words(page["error"], 200)
        sections = page.get("sections") or [{"id": "", "title": "", "body": page["body"]}]
        figures = {key: {"spec": spec, "sentence": ""} for key, spec in page["figures"].items()}
        return self._page(kind, here, page["title"], sections, figures)

    # ---- files ----

    async def static(self, request: Request) -> Response:
        """A file of the page itself; the browser asks anew whether it has changed."""
        root = FOLDER / "static"
        name = request.path_params["name"]
        path = (root / name).resolve() if "\0" not in name else root
        if not path.is_relative_to(root) or path.suffix not in TYPES or not path.is_file():
            return self._missing()
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {"cache-control": "no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[path.suffix], headers=headers)

    # ---- given ----

    def _told(self, answer: Answer) -> Answer:
        async def told(request: Request) -> Response:
            await self.lab.ready.wait()
            if self.lab.failed is not None:
                return self._words(str(self.lab.failed), 500)
            try:
                return await answer(request)
            except PoiseError as error:
                return self._words(str(error), 503)

        return told

    def _page(
        self,
        kind: str,
        here: str,
        title: str,
        sections: Sequence[Mapping[str, Any]],
        figures: Mapping[str, Mapping[str, Any]],
        contents: Sequence[tuple[str, str]] = (),
    ) -> Response:
        data = {"page": kind, "figures": {key: figure["spec"] for key, figure in figures.items()}}
        template = self.environment.get_template("page.html.j2")
        text = template.render(
            kind=kind,
            here=here,
            places=PLACES,
            title=title,
            sections=sections,
            figures=figures,
            contents=contents,
            data=data,
        )
        return HTMLResponse(text)

    def _missing(self) -> Response:
        return self._words("There is no such page here.", 404)

    def _words(self, words: str, status: int) -> Response:
        template = self.environment.get_template("words.html.j2")
        return HTMLResponse(template.render(words=words, places=PLACES), status)


async def missing(_request: Request, _error: Exception) -> Response:
    """Answer for an address that no route has."""
    return PlainTextResponse("There is no such page here.", 404)
