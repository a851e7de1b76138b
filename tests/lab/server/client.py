"""A client as plain as a browser's network part: pages by http.client, messages by websockets, and raw bytes."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from poise.lab.patch import apply
from poise.lab.server.serve import Server

__all__ = ["Client", "Page", "Talk"]


class Page:
    """An answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.text = response.status, response.headers, response.read().decode("latin-1")


class Client:
    """Asks one server, with the cookie that its code gave."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.host = f"127.0.0.1:{server.port}"

    @cached_property
    def cookie(self) -> str:
        return self.enter().headers["set-cookie"].split(";")[0]

    def enter(self) -> Page:
        return self.ask("GET", self.server.address().split(self.host)[1], {})

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Page:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            return Page(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str) -> Page:
        return self.ask("GET", path, {"Cookie": self.cookie})

    def raw(self, data: bytes, seconds: float = 30) -> bytes:
        """Send bytes and return all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=seconds) as connection:
            connection.sendall(data)
            found = b""
            try:
                while part := connection.recv(65536):
                    found += part
            except ConnectionResetError:
                pass
            return found

    @contextmanager
    def talk(self, **options: Any) -> Iterator[Talk]:
        """Open the websocket as our page does."""
        given = {"additional_headers": {"Cookie": self.cookie}, "origin": f"http://{self.host}", **options}
        with connect(f"ws://{self.host}/ws", max_size=2**25, open_timeout=30, **given) as connection:
            yield Talk(connection)


class Talk:
    """An open websocket; it keeps every figure's frame as a page does."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: dict[str, Any] = {}

    def say(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def hear(self, seconds: float = 30) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.connection.recv(seconds))
        if "patch" in message:
            self.frames[message["key"]] = apply(self.frames.get(message["key"]), message["patch"])
        return message

    def open(self, key: str, figure: str, state: Mapping[str, Any] | None = None, of: tuple[str, ...] = ()) -> Any:
        """Open a figure and return its first frame."""
        self.say(op="open", key=key, figure=figure, of=list(of), state=dict(state or {}))
        self.until(key, "patch", 0)
        return self.frames[key]

    def set(self, key: str, id: int, **state: Any) -> dict[str, Any]:
        """Set a state and return the answer to it."""
        self.say(op="set", key=key, id=id, state=state)
        while True:
            message = self.hear()
            if message["key"] == key and message["id"] == id and ("patch" in message or "error" in message):
                return message

    def until(self, key: str, what: str, id: int | None = None) -> dict[str, Any]:
        """Hear until a message of a kind comes."""
        while True:
            message = self.hear()
            if message["key"] == key and what in message and (id is None or message["id"] == id):
                return message

    def closed(self) -> int:
        """Hear until the server closes, and return its code."""
        try:
            while True:
                self.hear()
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd is not None else 1006
