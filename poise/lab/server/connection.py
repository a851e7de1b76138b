"""uvicorn's connections with three limits more: a slow request head, the number of sockets, and an unread close."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from poise.lab.server.limits import HEADER_SECONDS, LINGER_SECONDS, MESSAGES_WAITING, SOCKETS

__all__ = ["Connection", "Socket"]


class Connection(H11Protocol):
    """A connection that speaks HTTP."""

    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, or cut it when there are too many."""
        if len(self.connections) >= SOCKETS:
            transport.abort()
            return
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let it go."""
        self._expect_none()
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that has begun must end in time, whatever comes of it meanwhile."""
        if self.transport is None:
            return
        if self.head_timer is None and self.conn.their_state is h11.IDLE:
            self._expect_head()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._expect_none()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand over to the websocket."""
        self._expect_none()
        super().handle_websocket_upgrade(event)

    def _expect_head(self) -> None:
        self.head_timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _expect_none(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


class Socket(WebSocketsSansIOProtocol):
    """A connection that speaks websocket messages; `scope["extensions"]["poise.cut"]` breaks it off."""

    def send_receive_event_to_app(self) -> None:
        """Hand a message on, and read no further while several wait: uvicorn stops and starts at every single one."""
        paused = self.read_paused
        self.read_paused = paused or self.queue.qsize() < MESSAGES_WAITING
        super().send_receive_event_to_app()
        if self.queue.qsize() <= MESSAGES_WAITING:
            self.read_paused = paused

    async def run_asgi(self) -> None:
        """Run the application; what it sent last must be read soon, as a socket is held until then."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions["poise.cut"] = self.transport.abort
        await super().run_asgi()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """Cut a client that answers no ping; closing would wait for it to read."""
        super().keepalive_timeout()
        self.transport.abort()
