"""The children: kept warm, capped in time and memory, replaced when they end, and freed by who no longer waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import psutil
import pytest

from poise.core.errors import PoiseError
from poise.lab.server import pool as module
from poise.lab.server.pool import ChildError, Nursery, Pool

ORDER = {"source": "sample_shelf", "places": [], "image": None}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """A process to fork from, of all tests here that leave it alive."""
    one = Nursery(ORDER)
    asyncio.run(one.load())
    yield one
    one.close()


def trouble(**state: object) -> Callable[[], dict[str, Any]]:
    return lambda: {"do": "frame", "figure": "trouble", "of": [], "state": state}


async def pid_of(pool: Pool, **state: object) -> int:
    """Return the process that computed a frame."""
    answer = json.loads(await pool.run("trouble", trouble(**state)))
    return int(answer["message"]["numbers"][0]["value"])


def run(nursery: Nursery, count: int, test: Callable[[Pool], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        pool = Pool(nursery, count)
        try:
            await pool.start()
            await test(pool)
        finally:
            pool.close()
            for worker in list(nursery.workers):
                worker.end()
            await asyncio.sleep(0)

    asyncio.run(all_of_it())


def test_a_child_serves_many_jobs(nursery: Nursery) -> None:
    async def test(pool: Pool) -> None:
        found = {await pid_of(pool) for _ in range(20)}
        assert len(found) == 1  # the one whose caches are warm
        several = await asyncio.gather(*(pid_of(pool, sleeps=0.2) for _ in range(2)))
        assert len(set(several)) == 2

    run(nursery, 2, test)


def test_a_child_that_takes_too_long_is_replaced(nursery: Nursery) -> None:
    async def test(pool: Pool) -> None:
        (worker,) = pool.idle
        with pytest.raises(ChildError, match=r"This took more than 0\.3 s and was stopped"):
            await worker.ask(trouble(sleeps=30)(), seconds=0.3)
        pool.idle.clear()
        await pool._replace(worker)
        assert await pid_of(pool) != worker.pid
        assert await _ended(worker.pid)

    run(nursery, 1, test)


@pytest.mark.parametrize("state", [{"dies": True}, {"eats": True}])
def test_the_pool_stays_whole_when_jobs_go_wrong(nursery: Nursery, state: dict[str, bool]) -> None:
    async def test(pool: Pool) -> None:
        for _ in range(4):
            try:
                answer = json.loads(await pool.run("trouble", trouble(**state)))
                assert "MiB of memory" in answer["error"]
            except ChildError:
                pass
        while len(pool.idle) < 2:
            await asyncio.sleep(0.01)
        assert await pid_of(pool) in {worker.pid for worker in pool.idle}

    run(nursery, 2, test)


def test_a_long_job_that_nobody_waits_for_is_ended(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVERTAKEN_SECONDS", 0.1)

    async def test(pool: Pool) -> None:
        pid = pool.idle[0].pid
        job = asyncio.create_task(pool.run("trouble", trouble(sleeps=60)))
        await asyncio.sleep(0.1)
        job.cancel()
        assert await pid_of(pool) != pid
        assert await _ended(pid)

    run(nursery, 1, test)


def test_a_short_job_that_nobody_waits_for_leaves_its_child_alive(nursery: Nursery) -> None:
    async def test(pool: Pool) -> None:
        pid = pool.idle[0].pid
        job = asyncio.create_task(pool.run("trouble", trouble(sleeps=0.05)))
        await asyncio.sleep(0.02)
        job.cancel()
        assert await pid_of(pool) == pid

    run(nursery, 1, test)


def test_a_job_that_is_cancelled_while_it_waits_takes_no_child(nursery: Nursery) -> None:
    async def test(pool: Pool) -> None:
        first = asyncio.create_task(pool.run("trouble", trouble(sleeps=0.2)))
        waiting = [asyncio.create_task(pool.run("trouble", trouble(sleeps=60))) for _ in range(5)]
        await asyncio.sleep(0.05)
        for job in waiting:
            job.cancel()
        await first
        await pid_of(pool)

    run(nursery, 1, test)


def test_a_request_is_made_when_a_child_is_free_for_it(nursery: Nursery) -> None:
    async def test(pool: Pool) -> None:
        state = {"sleeps": 0.2}
        first = asyncio.create_task(pool.run("trouble", trouble(sleeps=0.2)))
        second = asyncio.create_task(pool.run("trouble", lambda: {**trouble()(), "state": state}))
        await asyncio.sleep(0.05)
        state["sleeps"] = -1.0  # newer, by the time the child is free
        await first
        assert "got -1.0" in json.loads(await second)["error"]

    run(nursery, 1, test)


def test_what_a_client_waits_for_goes_first(nursery: Nursery) -> None:
    async def test(pool: Pool) -> None:
        order: list[str] = []

        async def job(name: str, rank: int) -> None:
            await pool.run("trouble", trouble(), rank)
            order.append(name)

        first = asyncio.create_task(pool.run("trouble", trouble(sleeps=0.1)))
        await asyncio.sleep(0.02)
        await asyncio.gather(job("later", 1), job("now", 0), job("then", 0), first)
        assert order == ["now", "then", "later"]

    run(nursery, 1, test)


def test_children_forked_before_the_runs_were_opened_are_replaced() -> None:
    async def test(pool: Pool) -> None:
        before = {worker.pid for worker in pool.idle}
        with pytest.raises(ChildError, match="still opening"):
            await _page(pool)
        await pool.nursery.load_runs()
        pool.renew()
        while len(pool.idle) < 2:
            await asyncio.sleep(0.01)
        assert not before & {worker.pid for worker in pool.idle}
        assert await _page(pool) == {"lines": [], "cut": ""}

    own = Nursery(ORDER)
    try:
        asyncio.run(own.load())
        run(own, 2, test)
    finally:
        own.close()


async def _page(pool: Pool) -> object:
    answer = json.loads(await pool.run("runs", lambda: {"do": "page", "page": "runs", "of": []}))
    if "error" in answer:
        raise ChildError(answer["error"])
    return answer["page"]


def test_a_shelf_that_cannot_be_loaded_is_told() -> None:
    async def load() -> None:
        nursery = Nursery({"source": "no_such_shelf", "places": [], "image": None})
        try:
            with pytest.raises(PoiseError, match="could not be loaded"):
                await nursery.load()
        finally:
            nursery.close()

    asyncio.run(load())


def test_no_child_outlives_its_nursery() -> None:
    async def test(pool: Pool) -> None:
        children = [psutil.Process(worker.pid) for worker in pool.idle]
        job = asyncio.create_task(pool.run("trouble", trouble(sleeps=60)))
        await asyncio.sleep(0.05)
        pool.nursery.close()
        with pytest.raises(ChildError):
            await job
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]

    own = Nursery(ORDER)
    try:
        asyncio.run(own.load())
        run(own, 2, test)
    finally:
        own.close()


async def _ended(pid: int) -> bool:
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.01)
    return False
