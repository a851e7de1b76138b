"""Many tabs, clients that do not read, and clients that say nonsense: all others are served, and nothing grows."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from client import Client
from damage import mutated
from sample_shelf import Powers
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from poise.lab.server import session
from poise.lab.server.limits import MESSAGES_A_SECOND, MESSAGES_AT_ONCE
from poise.lab.server.serve import Server

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "lab_load.py"


def test_every_tab_of_many_gets_its_last_state(client: Client) -> None:
    figure, failures = Powers(), []

    def tab(number: int) -> None:
        with client.talk() as talk:
            talk.open("a", "powers", {"seed": number})
            for id in range(1, 31):
                talk.say(op="set", key="a", id=id, state={"power": id / 5, "seed": number})
            talk.until("a", "patch", 30)
            state = figure.checked({"power": 6, "seed": number})
            if talk.frames["a"] != figure.message(state, figure.compute(state)):
                failures.append(number)

    assert client.cookie
    tabs = [threading.Thread(target=tab, args=(number,)) for number in range(24)]
    for one in tabs:
        one.start()
    for one in tabs:
        one.join()
    assert failures == []


def test_a_client_that_says_more_than_it_may_is_read_more_slowly_and_not_cut(client: Client) -> None:
    more = 40
    with client.talk() as talk:
        talk.open("a", "powers")
        begun = time.monotonic()
        for id in range(1, MESSAGES_AT_ONCE + more + 1):
            talk.say(op="set", key="a", id=id, state={})
        talk.until("a", "patch", MESSAGES_AT_ONCE + more)
        assert time.monotonic() - begun > (more - 2) / MESSAGES_A_SECOND


def test_connections_that_come_and_go_leave_nothing(server: Server, client: Client) -> None:
    own = psutil.Process()
    with client.talk() as talk:
        talk.open("a", "powers")
    _settled(server)
    before = own.num_fds()
    for _ in range(60):
        with client.talk() as talk:
            talk.say(op="open", key="a", figure="powers", of=[], state={"power": 5})
    _settled(server)
    assert own.num_fds() <= before + 2  # a child that is just being replaced


def _settled(server: Server) -> None:
    deadline = time.monotonic() + 20
    while (server.lab.sessions or server.server.server_state.connections) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.lab.sessions


def test_a_client_that_does_not_read_is_cut_and_its_queue_does_not_grow(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "UNREAD_SECONDS", 0.5)
    _settled(server)
    with client.talk() as deaf:
        deaf.open("t", "trouble")
        (own,) = server.lab.sessions
        longest = id = 0
        deadline = time.monotonic() + 60
        with contextlib.suppress(ConnectionClosed):
            while server.lab.sessions and time.monotonic() < deadline:
                id += 1
                deaf.say(op="set", key="t", id=id, state={"size": 1_000_000 + id})
                longest = max(longest, len(own.outbox.waiting))
                time.sleep(0.02)
        assert not server.lab.sessions
        assert longest <= 2
    with client.talk() as talk:
        assert talk.open("a", "powers")["sentence"]


def fuzz(client: Client, count: int, seed: int) -> int:
    """Send damaged messages; return how many connections they closed. A sound one between must be answered."""
    rng, closed, left = random.Random(seed), 0, count
    options = {"additional_headers": {"Cookie": client.cookie}, "origin": f"http://{client.host}", "max_size": 2**25}
    while left:
        with contextlib.suppress(ConnectionClosed), connect(f"ws://{client.host}/ws", **options) as one:  # type: ignore[arg-type]
            closed += 1
            while left:
                left -= 1
                one.send(mutated(rng).encode("utf-8", "replace").decode())
                if left % 20 == 0:
                    key = f"sound-{left}"
                    one.send(json.dumps({"op": "open", "key": key, "figure": "powers", "of": [], "state": {}}))
                    one.send(json.dumps({"op": "set", "key": key, "id": 1, "state": {"power": 2}}))
                    while json.loads(one.recv(10))["key"] != key:
                        pass
                    one.send(json.dumps({"op": "close", "key": key}))
    return closed


@pytest.mark.parametrize("count", [600, pytest.param(100_000, marks=pytest.mark.campaign)])
def test_nonsense_closes_its_own_connection_and_harms_no_other(
    client: Client, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    own = psutil.Process()
    with client.talk() as other:
        other.open("a", "powers")
        fuzz(client, 300, 0)
        before = own.memory_info().rss
        # Several damaged messages may be on their way before a close is noticed: how many closes it takes varies.
        assert fuzz(client, count, 1) > count / 50
        assert own.memory_info().rss - before < 50 * 2**20
        assert other.set("a", 1, power=3)["id"] == 1
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.campaign
def test_a_hundred_tabs_for_five_minutes() -> None:
    command = [sys.executable, str(BENCHMARK), "--tabs", "100", "--rate", "10", "--seconds", "300", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    found = json.loads(done.stdout)
    assert found["unanswered"] == 0
    assert found["grown"] < 40
    assert found["cores"] < 1


@pytest.mark.campaign
def test_twenty_clients_that_never_read_are_cut_while_others_are_served() -> None:
    command = [sys.executable, str(BENCHMARK), "--tabs", "10", "--silent", "20", "--seconds", "90", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    found = json.loads(done.stdout)
    assert (found["unanswered"], found["silent_cut"]) == (0, 20)
    assert found["grown"] < 20 + 20
