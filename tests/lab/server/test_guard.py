"""Who may ask. Every route, method and scope is refused to a foreign name, origin or cookie; none is left out."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from client import Client
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message

from poise.lab.server.guard import ENTRANCE, HEADERS, Guard, Keys
from poise.lab.server.limits import CODE_SECONDS
from poise.lab.server.serve import Server

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "NONSENSE")

# PORT stands for our own port. None: no such header.
HOSTS = (
    "evil.com:PORT", "evil.com", "localhost.evil.com:PORT", "127.0.0.1.evil.com:PORT", "10.evil.com:PORT",
    "127.0.0.1:PORT@evil.com", "evil.com@127.0.0.1:PORT", "0.0.0.0:PORT", "2130706433:PORT", "0x7f.1:PORT",
    "127.1:PORT", "127.0.0.2:PORT", "localhost.:PORT", "127.0.0.1", "localhost", "127.0.0.1:1", "127.0.0.1:PORT.",
    " 127.0.0.1:PORT", "[::]:PORT", "[::ffff:127.0.0.1]:PORT", "", None, ("127.0.0.1:PORT", "evil.com"),
    ("127.0.0.1:PORT", "127.0.0.1:PORT"),
)  # fmt: skip
ORIGINS = (
    "http://evil.com", "https://evil.com", "http://evil.com:PORT", "null", "", "file://", "https://127.0.0.1:PORT",
    "http://127.0.0.1", "http://localhost", "http://127.0.0.1:1", "http://127.0.0.1:PORT.evil.com",
    "http://127.0.0.1:PORT@evil.com", "http://evil.com/http://127.0.0.1:PORT", "http://xlocalhost:PORT",
    "http://localhost:PORT0", "http://localhost.:PORT", "http://127.0.0.1:PORT/", "ws://127.0.0.1:PORT",
    "http://0.0.0.0:PORT", "chrome-extension://abcdefgh", "http://[::]:PORT",
    ("http://127.0.0.1:PORT", "http://evil.com"),
)  # fmt: skip
PATHS = {
    "/f/{id}": "/f/powers",
    "/runs/{id}": "/runs/0123456789abcdef",
    "/compare/{first}/{second}": "/compare/0123456789abcdef/0123456789abcdef",
    "/static/{name}": "/static/icon.svg",
}

Given = str | tuple[str, ...] | None


def answer(server: Server, kind: str, method: str, path: str, query: str = "", **headers: Given) -> tuple[int, bytes]:
    """Ask the application itself, by no network that could mend a request, and return status and body."""
    sent: list[Message] = []
    lines: list[tuple[bytes, bytes]] = []
    for name, values in headers.items():
        for value in (values,) if isinstance(values, str) else values or ():
            own = value.replace("PORT", str(server.port)).encode()
            lines.append((name.replace("_", "-").encode(), own))
    scope: dict[str, Any] = {
        "type": kind, "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": lines, "extensions": {"websocket.http.response": {}}, "subprotocols": [], "http_version": "1.1",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", server.port), "scheme": "http", "state": {},
    }  # fmt: skip
    if kind == "http":
        scope["method"] = method

    async def receive() -> Message:
        return {"type": "http.request"} if kind == "http" else {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> None:
        async with asyncio.timeout(10):  # what is let in by mistake may wait for the server's own loop
            await server.app(scope, receive, send)

    asyncio.run(ask())
    start = next(message for message in sent if message["type"].endswith("response.start"))
    body = b"".join(message.get("body", b"") for message in sent if message["type"].endswith("response.body"))
    return int(start["status"]), body


def addresses(server: Server) -> list[tuple[str, str, str]]:
    """Return (scope, method, path) of every route, and of an address that no route has."""
    assert isinstance(server.app, Guard)
    found = []
    for route in server.app.app.routes:  # type: ignore[attr-defined]
        assert isinstance(route, Route | WebSocketRoute), "a new kind of route: say here how it is asked"
        path = PATHS.get(route.path, route.path)
        assert "{" not in path, f"say in PATHS how {path} is asked"
        kind = "websocket" if isinstance(route, WebSocketRoute) else "http"
        found += [(kind, method, path) for method in (METHODS if kind == "http" else ("GET",))]
    assert len(found) > 80
    return [*found, ("http", "GET", "/nowhere"), ("websocket", "GET", "/nowhere"), ("http", "GET", ENTRANCE)]


def test_the_guard_stands_around_everything(server: Server) -> None:
    assert isinstance(server.app, Guard)
    config = server.server.config
    assert config.app is server.app


def test_foreign_names_and_origins_are_refused_everywhere(server: Server) -> None:
    cookie = f"{server.keys.name}={server.keys.value}"
    code = f"code={server.keys.new_code('/')}"
    good = ("127.0.0.1:PORT", "http://127.0.0.1:PORT")
    hostile = [(host, origin) for host, origin in itertools.product((*HOSTS, good[0]), (*ORIGINS, good[1], None))]
    hostile.remove(good)
    hostile.remove((good[0], None))  # a browser sends no origin when an address is typed; see the next test
    asked = 0
    for kind, method, path in addresses(server):
        query = code if path == ENTRANCE else ""
        # All pairs on one method of each route, and all names and origins alone on the others.
        pairs = hostile if method == "GET" else [pair for pair in hostile if good[0] in pair or good[1] in pair]
        for host, origin in pairs:
            status, body = answer(server, kind, method, path, query, host=host, origin=origin, cookie=cookie)
            assert status == 403, (kind, method, path, host, origin)
            assert b"Refused" in body
            asked += 1
    assert asked > 8000
    assert server.keys.use(code.removeprefix("code=")) == "/"  # nothing of it has used the code up


def test_a_missing_origin_is_refused_but_for_reading(server: Server) -> None:
    cookie = f"{server.keys.name}={server.keys.value}"
    for kind, method, path in addresses(server):
        if (kind, method) not in {("http", "GET"), ("http", "HEAD")}:
            assert answer(server, kind, method, path, host="127.0.0.1:PORT", cookie=cookie)[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_site_asks_for_is_refused(server: Server, site: str) -> None:
    cookie = f"{server.keys.name}={server.keys.value}"
    for kind, method, path in addresses(server):
        given = {"host": "127.0.0.1:PORT", "origin": "http://127.0.0.1:PORT", "cookie": cookie, "sec_fetch_site": site}
        assert answer(server, kind, method, path, **given)[0] == 403


@pytest.mark.parametrize(
    "cookie",
    [None, "", "other=1", "NAME=", "NAME=x", "NAME=VALUEx", "NAME=VALU", "xNAME=VALUE", "NAME", "NAME=é", ";;=;"],
)
def test_without_the_cookie_nothing_is_shown(server: Server, cookie: str | None) -> None:
    if cookie is not None:
        cookie = cookie.replace("VALUE", server.keys.value).replace("VALU", server.keys.value[:-1])
        cookie = cookie.replace("NAME", server.keys.name)
    for kind, method, path in addresses(server):
        given: dict[str, Given] = {"host": "127.0.0.1:PORT", "origin": "http://127.0.0.1:PORT", "cookie": cookie}
        assert answer(server, kind, method, path, **given)[0] == 403, (kind, method, path)


def test_nothing_is_written_by_any_method(server: Server) -> None:
    given = {"host": "127.0.0.1:PORT", "origin": "http://127.0.0.1:PORT"}
    given["cookie"] = f"{server.keys.name}={server.keys.value}"
    for kind, method, path in addresses(server):
        if kind == "http" and method not in {"GET", "HEAD"}:
            assert answer(server, kind, method, path, **given)[0] == 405


@pytest.mark.parametrize("host", ["127.0.0.1:PORT", "localhost:PORT", "[::1]:PORT", "LOCALHOST:PORT"])
def test_our_own_names_are_answered(client: Client, host: str) -> None:
    own = host.replace("PORT", str(client.server.port))
    assert client.ask("GET", "/f/powers", {"Host": own, "Cookie": client.cookie}).status == 200


@pytest.mark.parametrize("scheme", ["http://127.0.0.1", "http://localhost", "http://[::1]"])
def test_our_own_origins_may_open_the_websocket(client: Client, scheme: str) -> None:
    with client.talk(origin=f"{scheme}:{client.server.port}") as talk:
        assert talk.open("a", "powers")["sentence"] == "At 2 the curve has the value 4.000."


# ---- codes and cookies ----


def test_a_code_opens_the_lab_once(client: Client) -> None:
    path = client.server.address("/f/powers").split(client.host)[1]
    first, second = client.ask("GET", path, {}), client.ask("GET", path, {})
    assert (first.status, first.headers["location"]) == (303, "/f/powers")
    assert (second.status, second.headers["set-cookie"]) == (403, None)


def test_a_look_ahead_does_not_use_a_code_up(client: Client) -> None:
    path = client.server.address().split(client.host)[1]
    assert client.ask("HEAD", path, {}).status == 403
    assert client.ask("GET", path, {}).status == 303


def test_a_code_ends_after_a_minute() -> None:
    now = [100.0]
    keys = Keys(1, clock=lambda: now[0])
    early, late = keys.new_code("/"), keys.new_code("/")
    now[0] += CODE_SECONDS - 1
    assert keys.use(early) == "/"
    now[0] += 2
    assert keys.use(late) is None


@pytest.mark.parametrize("query", ["", "code=", "code=x", "code=CODE&x=1", "x=1&code=CODE", "code=CODE%20", "CODE"])
def test_only_a_whole_code_opens_the_lab(client: Client, query: str) -> None:
    code = client.server.keys.new_code("/")
    page = client.ask("GET", f"{ENTRANCE}?{query.replace('CODE', code)}", {})
    assert (page.status, page.headers["set-cookie"]) == (403, None)


def test_the_cookie_is_for_this_server_alone(client: Client) -> None:
    given = client.enter().headers["set-cookie"]
    assert given.startswith(f"poise-lab-{client.server.port}=")
    assert given.endswith("; Path=/; HttpOnly; SameSite=Strict")


def test_secrets_are_long_and_new_each_time() -> None:
    keys = [Keys(1), Keys(1)]
    values = {keys[0].value, keys[1].value, keys[0].new_code("/"), keys[0].new_code("/")}
    assert len(values) == 4
    assert min(len(value) for value in values) >= 43  # 256 bits


# ---- headers ----


@pytest.mark.parametrize("path", ["/", "/f/powers", "/runs", "/static/icon.svg", "/nowhere", "/f/nowhere", "/runs/x"])
def test_every_answer_carries_the_headers_of_protection(client: Client, path: str) -> None:
    page = client.get(path)
    for name, value in HEADERS.items():
        if name != "cache-control":
            assert page.headers.get_all(name) == [value]
    assert page.headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")
    assert not [name for name in page.headers if name.lower().startswith("access-control")]


def test_refusals_carry_the_headers_of_protection(client: Client) -> None:
    page = client.ask("GET", "/", {})
    assert page.status == 403
    assert all(page.headers[name] == value for name, value in HEADERS.items())


def test_the_policy_allows_no_script_and_no_frame_of_others() -> None:
    policy = dict(part.split(" ", 1) for part in HEADERS["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert not {"script-src", "style-src", "connect-src"} & policy.keys()  # they follow default-src
    assert "unsafe" not in HEADERS["content-security-policy"]
