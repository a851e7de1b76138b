"""The lab under load: many tabs that each move a slider ten times a second, and clients that never read.

    python benchmarks/lab_load.py --tabs 100 --rate 10 --seconds 60 --silent 0

Prints the gaps between two frames of a tab, how many states went unanswered, and the processor time and memory of the
server's own process (its children compute the frames; the figure here is as cheap as a figure can be).
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from poise.lab.base import Figure
from poise.lab.controls import Control, Range, State
from poise.lab.scene import Axis, Frame, Line, Number, Plot, Table

POINTS = 240  # of each of two curves: a frame that changes by about 4 kB


@final
class Wave(Figure):
    """Two curves that change everywhere, from a small store: what is measured is the server, not a figure."""

    id = "wave"
    title = "A wave"

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("phase", "Phase", 0, 1e9, 0, 1),)

    def compute(self, state: State) -> Frame:
        return _frame_at(int(state["phase"]) % 32)

    def code(self, state: State) -> str:
        return f"print({state['phase']})\n"

    def describe(self, state: State, frame: Frame) -> str:
        return f"The phase is {state['phase']}."

    def table(self, frame: Frame) -> Table:
        return Table((), [])

    def message(self, state: State, frame: Frame) -> dict[str, Any]:
        return _message_at(int(state["phase"]) % 32) | {"sentence": self.describe(state, frame)}


@lru_cache
def _frame_at(phase: int) -> Frame:
    x = [index / POINTS for index in range(POINTS)]
    lines = [Line(name, x, [wave(place * 9 + phase) for place in x]) for name, wave in WAVES.items()]
    return Frame([Plot("Waves", Axis("x"), Axis("y"), lines)], [Number("phase", phase, f"{phase:g}")])


@lru_cache
def _message_at(phase: int) -> dict[str, Any]:
    return Figure.message(Wave(), {"phase": phase}, _frame_at(phase))


WAVES = {"sine": math.sin, "cosine": math.cos}
FIGURES = {"wave": Wave}
CHAPTER = ()


@dataclass(frozen=True)
class Load:
    """What was measured."""

    tabs: int
    frames: int
    unanswered: int
    bytes_a_frame: float
    gap_p50: float
    gap_p95: float
    gap_p99: float
    gap_max: float
    cores: float  # of the server's process
    kernel: float  # of these, in the kernel
    megabytes: float  # its memory at the end
    grown: float  # since all tabs were open
    silent_cut: int


async def measure(port: int, cookie: str, pid: int, tabs: int, rate: float, seconds: float, silent: int) -> Load:
    """Move every tab's slider `rate` times a second."""
    own = psutil.Process(pid)
    options = {"additional_headers": {"Cookie": cookie}, "origin": f"http://127.0.0.1:{port}", "max_size": 2**24}
    address = f"ws://127.0.0.1:{port}/ws"
    open_ones = [await connect(address, **options) for _ in range(tabs)]  # type: ignore[arg-type]
    quiet = [await _silent(port, cookie) for _ in range(silent)]
    for one in open_ones:
        await one.send(json.dumps({"op": "open", "key": "w", "figure": "wave", "of": [], "state": {}}))
        await one.recv()
    before, used, begun = own.memory_info().rss, own.cpu_times(), time.monotonic()
    found = await asyncio.gather(*(_tab(one, number, rate, seconds) for number, one in enumerate(open_ones)))
    took = time.monotonic() - begun
    kernel = (own.cpu_times().system - used.system) / took
    cores = (own.cpu_times().user - used.user) / took + kernel
    after = own.memory_info().rss
    cut = sum([await _was_cut(reader, writer) for reader, writer in quiet])
    for one in open_ones:
        await one.close()
    gaps = sorted(gap for tab in found for gap in tab[0])
    sizes = [size for tab in found for size in tab[1]]
    at = [gaps[min(len(gaps) - 1, int(share * len(gaps)))] * 1e3 for share in (0.5, 0.95, 0.99, 1)]
    return Load(
        tabs, len(sizes), sum(tab[2] for tab in found), statistics.fmean(sizes), *at, cores, kernel,
        after / 2**20, (after - before) / 2**20, cut,
    )  # fmt: skip


async def _tab(one: ClientConnection, number: int, rate: float, seconds: float) -> tuple[list[float], list[int], int]:
    """Send states at the rate; return the gaps between frames, their sizes, and whether the last went unanswered."""
    gaps: list[float] = []
    sizes: list[int] = []
    last = int(seconds * rate)

    async def hear() -> None:
        before = None
        while True:
            text = await one.recv()
            now = time.monotonic()
            if before is not None:
                gaps.append(now - before)
            before = now
            sizes.append(len(text))
            if f'"id":{last},' in text[:60]:  # type: ignore[operator]
                return

    hearing = asyncio.create_task(hear())
    begun = time.monotonic() + number / (rate * 100)  # not all at the same moment
    for id in range(1, last + 1):
        await asyncio.sleep(max(0.0, begun + id / rate - time.monotonic()))
        state = {"phase": number * 1e6 + id}
        await one.send(json.dumps({"op": "set", "key": "w", "id": id, "state": state}))
    try:
        async with asyncio.timeout(20):
            await hearing
    except (TimeoutError, ConnectionClosed):
        return gaps, sizes, 1
    return gaps, sizes, 0


async def _silent(port: int, cookie: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a websocket by hand, ask for ever new frames, and read none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    lines = (
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nCookie: {cookie}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    writer.write(lines.encode())
    opened = json.dumps({"op": "open", "key": "w", "figure": "wave", "of": [], "state": {}}).encode()
    writer.write(_frame(opened))
    for id in range(1, 2000):
        writer.write(_frame(json.dumps({"op": "set", "key": "w", "id": id, "state": {"phase": id}}).encode()))
    return reader, writer


async def _was_cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Read at last, and return whether the server has closed meanwhile."""
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    try:
        async with asyncio.timeout(5):
            while await reader.read(2**20):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    finally:
        writer.close()
    return True


def _frame(text: bytes) -> bytes:
    """Return a text message as a masked websocket frame (RFC 6455, 5.2); the mask is zero."""
    length = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0xFE]) + len(text).to_bytes(2, "big")
    return bytes([0x81]) + length + bytes(4) + text


SERVE = """
import sys
sys.path.insert(0, {here!r})
from poise.lab.server.lab import Lab
from poise.lab.server.serve import Server, serve_here
serve_here(Server(Lab(source="lab_load")), "/", browser=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tabs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=10.0, help="states a second of each tab")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--silent", type=int, default=0, help="clients that never read")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args()
    # Its own process must not import this file, and with it torch.
    here = str(Path(__file__).resolve().parent)
    command = [sys.executable, "-c", SERVE.format(here=here)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        port = int(address.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", address.split(str(port), 1)[1])
        cookie = connection.getresponse().headers["set-cookie"].split(";")[0]
        connection.close()
        try:
            found = asyncio.run(
                measure(port, cookie, process.pid, arguments.tabs, arguments.rate, arguments.seconds, arguments.silent)
            )
        finally:
            process.terminate()
    if arguments.json:
        print(json.dumps(found.__dict__))
        return
    print(f"{found.tabs} tabs, {arguments.rate:g} states a second each, {arguments.seconds:g} s")
    print(f"frames {found.frames} of {found.bytes_a_frame:.0f} bytes; tabs without their last {found.unanswered}")
    print(f"gap between frames: p50 {found.gap_p50:.0f}, p95 {found.gap_p95:.0f}, p99 {found.gap_p99:.0f}, "
          f"max {found.gap_max:.0f} ms")  # fmt: skip
    print(f"server: {found.cores:.2f} cores ({found.kernel:.2f} in the kernel), {found.megabytes:.0f} MB,")
    print(f"  {found.grown:+.1f} MB since the tabs were open")
    if arguments.silent:
        print(f"clients that never read: {found.silent_cut} of {arguments.silent} were cut")


if __name__ == "__main__":
    main()
