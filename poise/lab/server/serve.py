"""Running the server: its sockets, its address with a code, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from poise.core.errors import ArgumentError, PoiseError, shown
from poise.lab.server.app import application, hosts_of
from poise.lab.server.connection import Connection, Socket
from poise.lab.server.guard import ENTRANCE, Keys
from poise.lab.server.lab import Lab
from poise.lab.server.limits import HEADER_BYTES, MESSAGE_BYTES, UNREAD_SECONDS

__all__ = ["Server", "running", "serve_here"]

LOOPBACK = "127.0.0.1"


class Server:
    """A lab that listens. `address` is an IP address of this machine beyond its own loopback, if others may ask."""

    def __init__(self, lab: Lab, port: int = 0, address: str | None = None) -> None:
        self.lab = lab
        self.sockets = _listening(port, address)
        self.name = LOOPBACK if address is None else f"[{address}]" if ":" in address else address
        self.port: int = self.sockets[0].getsockname()[1]
        self.keys = Keys(self.port)
        self.app = application(lab, hosts_of(self.port, address), self.keys)
        config = uvicorn.Config(
            self.app,
            http=Connection,
            ws=Socket,
            loop="asyncio",
            lifespan="off",
            ws_max_size=MESSAGE_BYTES,
            ws_ping_interval=UNREAD_SECONDS / 2,  # who answers no ping reads nothing, however much the system buffers
            ws_ping_timeout=UNREAD_SECONDS / 2,
            ws_per_message_deflate=False,  # a small compressed message can have megabytes
            h11_max_incomplete_event_size=HEADER_BYTES,
            log_config=None,
            access_log=False,  # addresses carry codes
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)

    def address(self, target: str = "/") -> str:
        """Return an address that opens the lab at a page, once, within a minute."""
        return f"http://{self.name}:{self.port}{ENTRANCE}?code={self.keys.new_code(target)}"

    async def serve(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until it is told to end. Raises: PoiseError when the figures cannot be loaded."""
        loading = asyncio.create_task(self.lab.start())
        serving = asyncio.create_task(self.server.serve(sockets=self.sockets))
        try:
            started()
            done, _ = await asyncio.wait({loading, serving}, return_when=asyncio.FIRST_COMPLETED)
            if loading in done and loading.exception() is not None:
                self.server.should_exit = True
            await serving
            if loading.done():
                loading.result()
        finally:
            loading.cancel()
            self.lab.close()
            await asyncio.sleep(0)  # in which the channels to the children close

    def end(self) -> None:
        """Have it end."""
        self.server.should_exit = True


@contextmanager
def running(lab: Lab) -> Iterator[Server]:
    """Serve in a thread on a free port, for as long as the block runs."""
    server = Server(lab)
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            asyncio.run(server.serve())
        except PoiseError as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server
    finally:
        server.end()
        thread.join()
        for failure in failures:
            raise failure


def serve_here(server: Server, target: str, browser: bool) -> None:
    """Serve in the terminal: print the address, open a browser, give a fresh address for each Enter; end by Ctrl-C."""

    def tell() -> None:
        _say(f"The lab is at {server.address(target)}")

    def started() -> None:
        tell()
        _say("Each address opens it once. Enter: a fresh address. Ctrl-C: end.")
        if browser:
            # In a thread: some browsers are waited for.
            threading.Thread(target=webbrowser.open, args=(server.address(target),), daemon=True).start()
        _on_each_line(tell)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve(started))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _on_each_line(tell: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    try:
        descriptor = sys.stdin.fileno()

        def read() -> None:
            line = sys.stdin.readline()
            if line:
                tell()
            else:
                loop.remove_reader(descriptor)

        loop.add_reader(descriptor, read)
    except (AttributeError, OSError, ValueError, NotImplementedError):  # no terminal, or a plain file
        return


def _listening(port: int, address: str | None) -> list[socket.socket]:
    """Return sockets on the loopback of both kinds, and on `address`."""
    sockets = [_bound(socket.AF_INET, LOOPBACK, port)]
    port = sockets[0].getsockname()[1]
    with contextlib.suppress(ArgumentError, OSError):  # a machine may have no IPv6, or that port may be in use there
        sockets.append(_bound(socket.AF_INET6, "::1", port))
    if address is not None:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        try:
            sockets.append(_bound(family, address, port))
        except ArgumentError:
            for one in sockets:
                one.close()
            raise
    return sockets


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen()  # at once: who asks before all is ready waits, and is not refused
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise ArgumentError(f"`--port` must be free; {port} is in use. Leave it out to get a free one.") from error
        if error.errno == errno.EACCES:
            raise ArgumentError(f"`--port` must be one you may use; got {port}. Choose one above 1023.") from error
        raise ArgumentError(
            f"`--host` must be an address of this machine; got {shown(address)}. Find one by `ip address`."
        ) from error
    return made
