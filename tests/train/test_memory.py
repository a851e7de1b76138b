"""Freed memory stays in the process, measured in page faults of a fresh one; and how much there is still to be had."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from poise.train import memory
from poise.train.memory import keep_freed_memory, memory_at_hand, sharing_memory

SCRIPT = """
import resource, sys, torch
from poise.train.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(10_000_000)  # 40 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_block_that_is_asked_for_again_costs_no_new_pages() -> None:
    if not keep_freed_memory():
        pytest.skip("another C library")
    default, kept = (
        int(subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True).stdout)
        for mode in ("default", "keep")
    )
    assert kept < 1000 < default / 10


def group(folder: Path, **files: object) -> None:
    """A control group as the kernel shows it: a folder of small files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def second(folder: Path, limit: object, used: int, inactive: int = 0) -> None:
    """A group of version 2."""
    stat = f"anon {used}\ninactive_file {inactive}\nactive_file 7"
    group(folder, memory__max=limit, memory__current=used, memory__stat=stat)


def first(folder: Path, limit: int, used: int, inactive: int = 0) -> None:
    """A group of version 1; its plain `inactive_file` leaves out the groups within it."""
    stat = f"inactive_file 3\ntotal_inactive_file {inactive}"
    group(folder, memory__limit_in_bytes=limit, memory__usage_in_bytes=used, memory__stat=stat)


@pytest.fixture
def left(tmp_path: Path) -> Callable[[str], list[int]]:
    """What `_left_by_groups` finds under tmp_path/tree for a process whose /proc/self/cgroup holds the given lines."""
    (tmp_path / "tree").mkdir()

    def find(lines: str) -> list[int]:
        (tmp_path / "own").write_text(lines)
        return memory._left_by_groups(root=tmp_path / "tree", own=tmp_path / "own")

    return find


def test_every_group_around_the_process_limits_it_the_innermost_first(left: Any, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    second(tree / "user", limit=1000, used=400, inactive=50)
    second(tree / "user" / "job", limit=500, used=300)
    second(tree / "user" / "neighbour", limit=10, used=9)
    second(tmp_path, limit=10, used=9)  # above the root: none of ours
    assert left("0::/user/job\n") == [500 - 300, 1000 - 400 + 50]


def test_a_group_without_a_limit_says_max_and_does_not_count(left: Any, tmp_path: Path) -> None:
    second(tmp_path / "tree" / "user", limit=1000, used=400)
    second(tmp_path / "tree" / "user" / "job", limit="max", used=300)
    assert left("0::/user/job\n") == [600]


@pytest.mark.parametrize("controllers", ["memory", "cpu,memory,pids"])
def test_groups_of_version_1_stand_under_their_controller(left: Any, tmp_path: Path, controllers: str) -> None:
    tree = tmp_path / "tree"
    first(tree / "memory" / "user" / "job", limit=500, used=300, inactive=20)
    first(tree / "memory", limit=2**63 - 4096, used=600)
    first(tree / "cpu" / "user" / "job", limit=10, used=9)
    lines = f"9:cpuacct:/user/job\n4:{controllers}:/user/job\n"
    assert left(lines) == [500 - 300 + 20, 2**63 - 4096 - 600]


def test_both_versions_at_once_are_read(left: Any, tmp_path: Path) -> None:
    first(tmp_path / "tree" / "memory" / "job", limit=500, used=300)
    second(tmp_path / "tree" / "job", limit=100, used=30)
    assert left("4:memory:/job\n0::/job\n") == [200, 70]


def test_in_a_container_the_root_is_the_own_group_whatever_its_name_outside(left: Any, tmp_path: Path) -> None:
    first(tmp_path / "tree" / "memory", limit=500, used=300)
    assert left("4:memory:/docker/3f9a\n") == [200]


@pytest.mark.parametrize("gone", ["memory.max", "memory.current", "memory.stat"])
def test_a_group_that_lacks_a_file_does_not_count(left: Any, tmp_path: Path, gone: str) -> None:
    second(tmp_path / "tree" / "user", limit=1000, used=400)
    second(tmp_path / "tree" / "user" / "job", limit=500, used=300)
    (tmp_path / "tree" / "user" / "job" / gone).unlink()
    assert left("0::/user/job\n") == [600]


def test_where_nothing_tells_of_groups_there_are_none(left: Any, tmp_path: Path) -> None:
    assert left("0::/nowhere\n") == []
    assert left("") == []
    assert left("3:cpu:/job\n") == []
    assert memory._left_by_groups(root=tmp_path, own=tmp_path / "absent") == []


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="not Linux")
def test_the_memory_at_hand_is_what_linux_has_available_or_less() -> None:
    known = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(known["MemAvailable"].split()[0]) * 1024
    assert memory._available() == pytest.approx(available, rel=0.1)  # other processes go on
    found = memory_at_hand()
    assert found is not None
    assert 0 < found <= 1.1 * available
    assert memory_at_hand(torch.device("cpu")) == pytest.approx(found, rel=0.1)


def test_shares_of_shares_multiply_and_are_put_back_also_after_an_error() -> None:
    if memory_at_hand() is None:
        pytest.skip("nothing tells how much memory there is")

    def share() -> float:  # of what there is at this moment
        there = [size for size in (memory._available(), *memory._left_by_groups()) if size is not None]
        return (memory_at_hand() or 0) / min(there)

    with sharing_memory(2):
        assert share() == pytest.approx(1 / 2, rel=0.1)
        with sharing_memory(4):
            assert share() == pytest.approx(1 / 8, rel=0.1)
        with pytest.raises(ValueError, match="within"), sharing_memory(3):
            raise ValueError("within")
        assert share() == pytest.approx(1 / 2, rel=0.1)
    assert share() == pytest.approx(1, rel=0.1)
