"""The application: pages, the websocket, and the guard around both."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from poise.lab.server.guard import Guard, Keys
from poise.lab.server.lab import Lab
from poise.lab.server.pages import Pages, missing
from poise.lab.server.session import Session

__all__ = ["application", "hosts_of"]


def application(lab: Lab, hosts: frozenset[str], keys: Keys) -> ASGIApp:
    """Return the whole as one ASGI application; `hosts` are the names, with port, under which it may be asked."""

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await lab.ready.wait()
        session = Session(lab, websocket)
        lab.sessions.add(session)
        try:
            await session.converse()
        finally:
            lab.sessions.discard(session)

    app = Starlette(
        routes=[*Pages(lab).routes(), WebSocketRoute("/ws", socket)],
        exception_handlers={404: missing, 405: missing},
        # No page holds a secret, so that a compressed one tells none by its length.
        middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)],
    )
    app.router.redirect_slashes = False
    return Guard(app, hosts, keys)


def hosts_of(port: int, address: str | None = None) -> frozenset[str]:
    """Return the exact names of this server: the loopback ones, and `address` if it listens there too."""
    names = ["127.0.0.1", "localhost", "[::1]"]
    if address is not None:
        names.append(f"[{address}]" if ":" in address else address)
    return frozenset(f"{name}:{port}" for name in names)
