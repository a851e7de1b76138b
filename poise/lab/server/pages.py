"""The pages, written by the server: all that is said can be read without JavaScript."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from poise.core.errors import PoiseError, StudyError
from poise.lab.server.messages import FIGURE, RUN, MessageError, Open, parsed

if TYPE_CHECKING:
    from poise.lab.server.lab import Lab

__all__ = ["Pages", "missing"]

FOLDER = Path(__file__).resolve().parents[1]
PLACES = (("/", "Chapter"), ("/runs", "Your runs"), ("/present", "Present"))
CHAPTER = "Regularization, seen and felt"
MISSING = "There is no such page here."
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
Answer = Callable[[Request], Awaitable[Response]]


class Pages:
    """The pages of a lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        # Escaping is on whatever a template is called: what is not markup of ours is text.
        loader = FileSystemLoader(FOLDER / "templates")
        self.environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
        self.environment.policies["json.dumps_kwargs"] = {"allow_nan": False}  # and in the order of the page

    def routes(self) -> list[Route]:
        """Return the routes; ids in them are matched in full before anything is looked up."""
        addresses: dict[str, Answer] = {
            "/": self.chapter,
            "/f/{id}": self.figure,
            "/present": self.present,
            "/runs": self.runs,
            "/runs/{id}": self.run,
            "/compare": self.chosen,
            "/compare/{first}/{second}": self.compare,
            "/export": self.export,
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
        return self._page("chapter", kind, here, CHAPTER, figures, sections=sections)

    async def figure(self, request: Request) -> Response:
        """One figure, large."""
        id = request.path_params["id"]
        if not FIGURE.fullmatch(id) or id not in self.lab.chapter["figures"]:
            return self._words(MISSING, 404)
        figure = self._of_chapter(id)
        spec = figure["spec"]
        return self._page("one", "figure", f"/f/{id}", spec["title"], {id: figure}, id=id, tries=spec["tries"])

    def _of_chapter(self, id: str) -> dict[str, Any]:
        frame = self.lab.at_rest(id)
        return {"spec": self.lab.chapter["figures"][id], "sentence": frame["sentence"] if frame else ""}

    # ---- the user's runs ----

    async def runs(self, _request: Request) -> Response:
        """The list of runs."""
        return self._page("runs", "runs", "/runs", "Your runs", {}, page=await self.lab.page("runs"))

    async def run(self, request: Request) -> Response:
        """One run."""
        id = request.path_params["id"]
        if not RUN.fullmatch(id):
            return self._words(MISSING, 404)
        page = await self.lab.page("run", [id])
        return self._page("run", "run", f"/runs/{id}", page["line"]["name"], page["figures"], page=page)

    async def chosen(self, request: Request) -> Response:
        """Go from the choice of two in the list to their page."""
        chosen = request.query_params.getlist("run")
        if len(chosen) != 2 or not all(RUN.fullmatch(id) for id in chosen):
            return self._words("Choose two runs in the list to compare them.", 400)
        return RedirectResponse(f"/compare/{chosen[0]}/{chosen[1]}", 303)

    async def compare(self, request: Request) -> Response:
        """Two runs side by side."""
        of = [request.path_params["first"], request.path_params["second"]]
        if not all(RUN.fullmatch(id) for id in of):
            return self._words(MISSING, 404)
        page = await self.lab.page("compare", of)
        title = f"{page['lines'][0]['name']} and {page['lines'][1]['name']}"
        return self._page("compare", "compare", "/runs", title, page["figures"], page=page)

    # ---- files ----

    async def export(self, request: Request) -> Response:
        """A figure as one HTML file: `?open=` is the message with which the page opened it."""
        try:
            asked = parsed(request.query_params.get("open", ""))
        except MessageError as error:
            return self._words(f"This figure cannot be exported: {error}.", 400)
        if not isinstance(asked, Open):
            return self._words(MISSING, 404)
        text = await self.lab.export(asked.figure, asked.of, asked.state)
        return HTMLResponse(text, headers={"content-disposition": f'attachment; filename="{asked.figure}.html"'})

    async def static(self, request: Request) -> Response:
        """A file of the page itself; the browser asks anew whether it has changed."""
        root, name = FOLDER / "static", request.path_params["name"]
        path = root if "\0" in name else (root / name).resolve()
        if not path.is_relative_to(root) or path.suffix not in TYPES or not path.is_file():
            return self._words(MISSING, 404)
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
            except StudyError as error:
                return self._words(str(error), 404)
            except PoiseError as error:
                return self._words(str(error), 503)

        return told

    def _page(
        self,
        template: str,
        kind: str,
        here: str,
        title: str,
        figures: Mapping[str, Mapping[str, Any]],
        **content: Any,
    ) -> Response:
        data = {"page": kind, "figures": {id: figure["spec"] for id, figure in figures.items()}}
        own = {"kind": kind, "here": here, "title": title, "figures": figures, "places": PLACES, "data": data}
        return HTMLResponse(self.environment.get_template(f"{template}.html.j2").render({**own, **content}))

    def _words(self, words: str, status: int) -> Response:
        page = self._page("words", "words", "", "Not here", {}, words=words)
        page.status_code = status
        return page


async def missing(_request: Request, _error: Exception) -> Response:
    """Answer for an address that no route has."""
    return PlainTextResponse(MISSING, 404)
