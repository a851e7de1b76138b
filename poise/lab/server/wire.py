"""JSON messages between the server and its children (four bytes of length, then the text), and short commands."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

from poise.lab.server.limits import REPLY_BYTES

__all__ = ["COMMAND_BYTES", "FORK", "KILL", "LOAD", "command", "read", "receive", "send", "write"]

FORK = b"F"  # the first byte of a command to the nursery: make a child,
KILL = b"K"  # end one,
LOAD = b"L"  # open the runs
COMMAND_BYTES = 9  # a letter and a number of eight bytes


def command(letter: bytes, number: int = 0) -> bytes:
    """Return a command to the nursery."""
    return letter + number.to_bytes(COMMAND_BYTES - 1, "big")


def _packed(message: dict[str, Any]) -> bytes:
    text = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > REPLY_BYTES:
        raise ValueError(f"a message of {len(text)} bytes; at most {REPLY_BYTES} are sent")
    return len(text).to_bytes(4, "big") + text


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one message (in a child)."""
    channel.sendall(_packed(message))


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """Return the next message (in a child), or None when the other side is gone."""
    head = _exactly(channel, 4)
    text = None if head is None else _exactly(channel, int.from_bytes(head, "big"))
    return None if text is None else json.loads(text)


def _exactly(channel: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(count - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


async def write(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """Send one message (in the server)."""
    writer.write(_packed(message))
    await writer.drain()


async def read(reader: asyncio.StreamReader) -> bytes:
    """Return the text of the next message (in the server). Raises: IncompleteReadError when the child is gone."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > REPLY_BYTES:
        raise asyncio.IncompleteReadError(b"", length)
    return await reader.readexactly(length)
