"""Worker processes: results in order, one thread each, errors passed on."""

import os
import signal
import time
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest
import torch

from poise.core.errors import PoiseWarning
from poise.study.workers import WorkersLostError, crew, default_jobs, first_done, one_thread, run_all
from poise.train import memory


def tell(number: int) -> tuple[int, int, int]:
    return number, os.getpid(), torch.get_num_threads()


def share_counted_on(number: int) -> float:
    """The part of the memory at hand that the process counts on; the two are read one right after the other."""
    there = [size for size in (memory._available(), *memory._left_by_groups()) if size is not None]
    return (memory.memory_at_hand() or 0) / min(there)


def fail(number: int) -> int:
    raise ValueError(f"task {number}")


def test_results_come_in_the_order_of_the_tasks_from_other_processes_of_one_thread() -> None:
    found = run_all(tell, [(n,) for n in range(4)], 2)
    assert [number for number, _, _ in found] == [0, 1, 2, 3]
    assert os.getpid() not in {pid for _, pid, _ in found}
    assert {threads for _, _, threads in found} == {1}


@pytest.mark.parametrize("jobs", [0, 1])
def test_one_job_runs_here(jobs: int) -> None:
    assert {pid for _, pid, _ in run_all(tell, [(0,), (1,)], jobs)} == {os.getpid()}
    assert run_all(tell, [], jobs) == []


@pytest.mark.parametrize(("jobs", "tasks", "share"), [(1, 3, 1), (2, 3, 1 / 2), (8, 2, 1 / 2), (3, 1, 1)])
def test_processes_that_work_at_once_share_the_memory_at_hand(jobs: int, tasks: int, share: float) -> None:
    if memory.memory_at_hand() is None:
        pytest.skip("nothing tells how much memory there is")
    found = run_all(share_counted_on, [(n,) for n in range(tasks)], jobs)
    assert found == pytest.approx([share] * tasks, rel=0.1)
    assert share_counted_on(0) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_task_is_raised_here(jobs: int) -> None:
    with pytest.raises(ValueError, match="task 0"):
        run_all(fail, [(0,), (0,)], jobs)


def test_the_number_of_threads_is_put_back_also_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="task"), one_thread():
            fail(1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_there_is_a_job_for_each_core_that_may_be_used() -> None:
    assert 1 <= default_jobs() <= (os.cpu_count() or 1)


def hangs(folder: Path) -> None:
    (folder / "at work").write_text(str(os.getpid()))
    time.sleep(60)


def test_an_error_breaks_off_what_workers_still_do(tmp_path: Path) -> None:
    def work() -> None:
        with crew(2) as workers:
            workers.begin(hangs, tmp_path)
            outcome = workers.begin(fail, 0)
            while not (tmp_path / "at work").exists() or not (tmp_path / "at work").read_text():
                time.sleep(0.01)
            outcome.result()

    with pytest.raises(ValueError, match="task 0"):
        work()
    assert not psutil.pid_exists(int((tmp_path / "at work").read_text()))
    assert [number for number, _, _ in run_all(tell, [(0,), (1,)], 2)] == [0, 1]


def test_the_first_that_is_done_is_told_and_of_several_the_earliest() -> None:
    futures: list[Future[int]] = [Future() for _ in range(3)]
    futures[2].set_result(0)
    assert first_done(futures) == 2
    futures[1].set_result(0)
    assert first_done(futures) == 1


def test_a_crew_of_one_works_here_before_it_answers() -> None:
    with crew(1) as workers:
        outcome = workers.begin(tell, 3)
        assert outcome.succeeded
        assert outcome.result() == (3, os.getpid(), 1)
        with pytest.raises(ValueError, match="task 7"):
            workers.begin(fail, 7)


def dies(folder: Path, number: int, times: int) -> int:
    """Be killed as by the system, the first so many times."""
    before = len(list(folder.iterdir()))
    if number == 1 and before < times:
        (folder / str(before)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_what_a_killed_worker_takes_along_is_done_again_by_half_as_many(tmp_path: Path) -> None:
    with pytest.warns(PoiseWarning, match=r"killed \(SIGKILL.*begun again by 2 workers\.") as told:
        assert run_all(dies, [(tmp_path, number, 1) for number in range(6)], 4) == list(range(6))
    assert len(told) == 1
    assert [number for number, *_ in run_all(tell, [(0,), (1,)], 2)] == [0, 1]  # the next crew is whole


def test_a_last_worker_that_is_killed_is_an_error_that_says_so_and_this_process_lives(tmp_path: Path) -> None:
    with (
        pytest.warns(PoiseWarning, match="begun again by 1 worker"),
        pytest.raises(WorkersLostError, match=r"killed .*the last one\. Free memory, or use fewer jobs"),
    ):
        run_all(dies, [(tmp_path, number, 9) for number in range(3)], 2)
    assert len(list(tmp_path.iterdir())) == 2


def kills_them_all(folder: Path, number: int) -> int:
    """Have all workers of a crew of two killed at once, the first time."""
    (folder / str(os.getpid())).touch()
    pids = [int(one.name) for one in folder.iterdir()]
    if len(pids) < 2:
        time.sleep(60)  # until the other one is there
    elif len(pids) == 2:
        for pid in sorted(pids, key=lambda pid: pid == os.getpid()):
            os.kill(pid, signal.SIGKILL)
    return number


def test_the_loss_of_all_workers_at_once_is_that_of_one(tmp_path: Path) -> None:
    with pytest.warns(PoiseWarning, match="begun again by 1 worker"):
        assert run_all(kills_them_all, [(tmp_path, number) for number in range(2)], 2) == [0, 1]
