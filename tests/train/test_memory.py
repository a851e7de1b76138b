"""Freed memory stays in the process: measured in page faults of a fresh one."""

import subprocess
import sys

import pytest

from poise.train.memory import keep_freed_memory

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
