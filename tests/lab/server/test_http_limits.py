"""Limits of the connections themselves: slow, large, compressed or too many, they end, and others are served on."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from client import Client
from websockets.exceptions import ConnectionClosed

from poise.lab.server import connection
from poise.lab.server.limits import BODY_BYTES, HEADER_BYTES, MESSAGE_BYTES, SOCKETS
from poise.lab.server.serve import Server


def head(client: Client, *lines: str) -> bytes:
    given = [f"Host: {client.host}", f"Cookie: {client.cookie}", "Connection: close", *lines]
    return "\r\n".join(["GET /f/powers HTTP/1.1", *given, "", ""]).encode("latin-1")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_a_whole_head_is_answered(client: Client) -> None:
    assert status(client.raw(head(client))) == 200


@pytest.mark.parametrize(
    "line",
    [
        f"X: {'a' * HEADER_BYTES}", f"Content-Length: {BODY_BYTES + 1}", "Content-Length: " + "9" * 30,
        "Content-Length: -1", "Content-Length: 1x", "Host: evil.com", "X\0: 1", "no colon here", "X: a\nb",
    ],
)  # fmt: skip
def test_a_head_that_no_browser_sends_is_refused(client: Client, line: str) -> None:
    assert status(client.raw(head(client, line))) in {400, 403, 413, 431}


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_what_is_no_http_is_refused(client: Client, data: bytes) -> None:
    assert status(client.raw(data)) in {0, 400, 403, 505}
    assert client.get("/f/powers").status == 200


def test_a_head_without_a_host_is_refused(client: Client) -> None:
    assert status(client.raw(b"GET / HTTP/1.0\r\n\r\n")) == 403
    assert status(client.raw(b"GET / HTTP/1.1\r\n\r\n")) == 400


def test_a_chunked_body_is_not_waited_for(client: Client) -> None:
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    answer = client.raw(head(client, "Transfer-Encoding: chunked") + chunk * 32 + b"0\r\n\r\n")
    assert status(answer) in {0, 200}  # it was answered before the body; the rest is cut
    assert client.get("/f/powers").status == 200


def test_a_slow_head_is_cut(server: Server, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            for letter in head(client):
                slow.sendall(bytes([letter]))
                slow.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if slow.recv(1) == b"":
                        break
        assert time.monotonic() - begun < 10  # at a letter each 50 ms, the head would take longer
        slow.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1) == b""


def test_a_silent_connection_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.3)
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent,
        contextlib.suppress(ConnectionResetError),
    ):
        assert silent.recv(1) == b""


def test_a_slow_second_head_is_cut(server: Server, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(head(client).replace(b"Connection: close\r\n", b""))
        found = b""
        while b"</html>" not in found:
            found += slow.recv(65536)
        slow.sendall(b"GET / HT")
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1) == b""


def test_a_socket_beyond_the_limit_is_cut_and_the_others_are_served(server: Server, client: Client) -> None:
    with client.talk() as talk:
        many = []
        try:
            for _ in range(SOCKETS + 8):
                one = socket.create_connection(("127.0.0.1", server.port), timeout=20)
                many.append(one)
            with contextlib.suppress(ConnectionResetError):
                assert many[-1].recv(1) == b""
            assert talk.open("a", "powers")["sentence"]
        finally:
            for one in many:
                one.close()
    assert client.get("/f/powers").status == 200


# A client that still sends when the server closes may lose the closing frame to the reset of the connection. So neither
# of these sends more than what makes the message too large.


def test_a_large_message_closes_the_websocket_at_its_head(client: Client) -> None:
    with client.talk() as talk:
        head = bytes([0x81, 0x80 | 127]) + (MESSAGE_BYTES + 1).to_bytes(8, "big") + bytes(4)  # final, text, masked
        talk.connection.socket.sendall(head)
        assert talk.closed() == 1009


def test_a_large_message_in_pieces_closes_the_websocket(client: Client) -> None:
    codes: list[int] = []
    with client.talk() as talk:

        def pieces() -> Iterator[str]:
            for _ in range(MESSAGE_BYTES // 1000 + 1):
                yield "a" * 1000
            codes.append(talk.closed())

        with contextlib.suppress(ConnectionClosed):
            talk.connection.send(pieces())
    assert codes == [1009]


def test_messages_are_not_compressed(client: Client) -> None:
    with client.talk(compression="deflate") as talk:
        assert talk.connection.response is not None
        assert "Sec-WebSocket-Extensions" not in talk.connection.response.headers


def test_only_the_loopback_listens(server: Server) -> None:
    addresses = {one.getsockname()[0] for one in server.server.servers[0].sockets} | {
        one.getsockname()[0] for own in server.server.servers for one in own.sockets
    }
    assert "127.0.0.1" in addresses
    assert addresses <= {"127.0.0.1", "::1"}
