"""Who may ask: this machine's browser, on our own pages, with the cookie it was given. All else gets an answer of no.

The guard stands around the whole application, for pages and websockets alike; there is no path that goes by it.
Names and origins are compared with exact sets, never with patterns: each known hole in such lists was a pattern.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poise.lab.server.limits import BODY_BYTES, CODE_SECONDS, HEADER_BYTES

__all__ = ["ENTRANCE", "HEADERS", "Guard", "Keys"]

ENTRANCE = "/enter"  # takes a one-use code, gives the cookie
# Of every answer.
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; "
        "form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
REFUSED = "Refused. Open the address that `poise lab` printed; press Enter in its terminal for a fresh one."
CODE = re.compile(r"code=([A-Za-z0-9_-]{43})")


class Keys:
    """The secrets of one start of the server: a cookie's value, and codes that each open the lab once."""

    def __init__(self, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        # Cookies know no ports: without it in the name, two labs on one machine would log each other out.
        self.name = f"poise-lab-{port}"
        self.value = secrets.token_urlsafe(32)
        self.codes: dict[str, tuple[float, str]] = {}

    def new_code(self, target: str) -> str:
        """Return a code that opens the page `target` once, within a minute."""
        code = secrets.token_urlsafe(32)
        self.codes[code] = (self.clock() + CODE_SECONDS, target)
        return code

    def use(self, code: str) -> str | None:
        """Return the page that a code opens, or None; it opens nothing a second time."""
        now = self.clock()
        self.codes = {known: until for known, until in self.codes.items() if until[0] > now}
        for known in self.codes:
            if hmac.compare_digest(known, code):
                return self.codes.pop(known)[1]
        return None

    def fits(self, headers: Headers) -> bool:
        """Whether a request carries our cookie."""
        for line in headers.getlist("cookie"):
            try:
                morsel = SimpleCookie(line).get(self.name)
            except CookieError:
                continue
            if morsel is not None and hmac.compare_digest(morsel.value.encode(), self.value.encode()):
                return True
        return False

    def cookie(self) -> str:
        """Return the header that gives the cookie; without an age, it ends with the browser, and works until we do."""
        return f"{self.name}={self.value}; Path=/; HttpOnly; SameSite=Strict"


class Guard:
    """The ASGI application around ours."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], keys: Keys) -> None:
        self.app, self.hosts, self.keys = app, hosts, keys
        self.origins = frozenset(f"http://{host}" for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        response = self._verdict(scope)
        if response is None:
            await self.app(scope, receive, send if scope["type"] == "websocket" else _with_headers(send))
        elif scope["type"] == "websocket":
            await response(scope, receive, send)
        else:
            await response(scope, receive, _with_headers(send))

    def _verdict(self, scope: Scope) -> Response | None:
        """Return the refusal of a request, or None if it may pass."""
        if scope["type"] not in ("http", "websocket"):
            return PlainTextResponse(REFUSED, 403)
        # The parser's own limit is of a head that is not complete yet: one that comes in one piece may be longer.
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            return PlainTextResponse("Too large.", 431)
        headers = Headers(scope=scope)
        named = headers.getlist("host")
        if len(named) != 1 or named[0].lower() not in self.hosts:
            return PlainTextResponse(REFUSED, 403)
        origins = headers.getlist("origin")
        page = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if len(origins) > 1 or (origins and origins[0] not in self.origins) or (not origins and not page):
            return PlainTextResponse(REFUSED, 403)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return PlainTextResponse(REFUSED, 403)
        if page and scope["path"] == ENTRANCE:
            return self._enter(scope)
        if not self.keys.fits(headers):
            return PlainTextResponse(REFUSED, 403)
        if scope["type"] == "http" and not page:
            return PlainTextResponse("This server only shows: GET and HEAD.", 405, {"allow": "GET, HEAD"})
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > BODY_BYTES:
            return PlainTextResponse("Too large.", 413)
        return None

    def _enter(self, scope: Scope) -> Response:
        match = CODE.fullmatch(scope["query_string"].decode("latin-1"))
        # HEAD must not use it up: some tools look at an address before they open it.
        target = self.keys.use(match[1]) if match and scope["method"] == "GET" else None
        if target is None:
            return PlainTextResponse(REFUSED, 403)
        return RedirectResponse(target, 303, {"set-cookie": self.keys.cookie()})


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message.get("headers", ())}
            more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in own]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending
