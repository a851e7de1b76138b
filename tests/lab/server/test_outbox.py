"""What waits for a client: the newest of each, in order, as differences from what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

from poise.lab.patch import apply
from poise.lab.server.outbox import Outbox


def taken(outbox: Outbox, count: int) -> list[dict[str, Any]]:
    async def take() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while len(found) < count:
                    found.append(await outbox.next())
        return found

    found = asyncio.run(take())
    assert len(found) == count
    return found


def test_a_frame_that_still_waits_gives_way_to_the_newer() -> None:
    outbox = Outbox()
    for id in range(1000):
        outbox.frame("a", id, {"n": id})
    assert len(outbox.waiting) == 1
    assert taken(outbox, 1) == [{"key": "a", "id": 999, "patch": {"$set": {"n": 999}}}]


def test_the_queue_is_bounded_by_the_figures_not_by_what_is_said() -> None:
    outbox, rng = Outbox(), random.Random(0)
    for id in range(10_000):
        key = f"k{rng.randrange(32)}"
        outbox.frame(key, id, {"n": id})
        outbox.say("playing", {"key": key, "id": id, "playing": True, "done": False})
        outbox.say("error", {"key": key, "id": id, "error": "words"})
    assert len(outbox.waiting) == 3 * 32


def test_patches_lead_from_each_sent_frame_to_the_next() -> None:
    outbox, rng = Outbox(), random.Random(1)
    client: dict[str, Any] = {}
    for id in range(300):
        for _ in range(rng.randrange(1, 4)):  # of which only the last is sent
            new = {"list": [rng.randrange(3) for _ in range(rng.randrange(5))], "n": rng.randrange(2)}
            outbox.frame("a", id, new)
        (message,) = taken(outbox, 1)
        client["a"] = apply(client.get("a"), message["patch"])
        assert (message["id"], client["a"]) == (id, new)


def test_the_end_of_a_run_is_told_after_its_last_frame() -> None:
    outbox = Outbox()
    outbox.say("playing", {"key": "a", "playing": True})
    outbox.frame("a", 1, {"n": 1})
    outbox.say("playing", {"key": "a", "playing": False})
    assert ["patch" in message for message in taken(outbox, 2)] == [True, False]


def test_the_same_frame_is_not_sent_twice_for_one_request_but_is_for_two() -> None:
    outbox = Outbox()
    outbox.frame("a", 1, {"n": 1})
    taken(outbox, 1)
    outbox.frame("a", 1, {"n": 1})  # a run that was looked at again
    outbox.frame("b", 1, {"n": 1})
    assert taken(outbox, 1)[0]["key"] == "b"
    outbox.frame("a", 2, {"n": 1})  # a slider that was moved back: the page waits for its answer
    assert taken(outbox, 1) == [{"key": "a", "id": 2, "patch": {"$same": 1}}]


def test_a_forgotten_figure_starts_anew() -> None:
    outbox = Outbox()
    outbox.frame("a", 1, {"n": 1})
    taken(outbox, 1)
    outbox.frame("a", 2, {"n": 2})
    outbox.forget("a")
    assert not outbox.waiting
    outbox.frame("a", 0, {"n": 3})
    assert taken(outbox, 1)[0]["patch"] == {"$set": {"n": 3}}


def test_a_run_waits_until_its_frame_is_taken() -> None:
    async def played() -> list[str]:
        outbox, order = Outbox(), []

        async def run() -> None:
            for number in range(3):
                await outbox.free("a")
                order.append(f"made {number}")
                outbox.frame("a", 1, {"n": number})

        running = asyncio.create_task(run())
        for number in range(3):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await outbox.next()
            order.append(f"sent {number}")
        await running
        return order

    assert asyncio.run(played()) == ["made 0", "sent 0", "made 1", "sent 1", "made 2", "sent 2"]
