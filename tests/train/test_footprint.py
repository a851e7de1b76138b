"""What a population takes: counted exactly while it is made, and against a process's own memory (see the benchmark)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from poise import Recipe
from poise.kernels import available
from poise.models.tabular import Mlp
from poise.train.footprint import Footprint, Phase, allocated
from poise.train.losses import SquaredError
from poise.train.optimizers import Flat
from poise.train.population import Population

ROOT = Path(__file__).resolve().parents[2]


def test_weights_take_their_room_once_while_a_population_is_made() -> None:
    """Weights and two moments of 50 members, and no more than a few networks beside them."""
    made: list[Population] = []

    def make() -> None:
        made.append(Population(lambda: Mlp(30, 1, width=60), Recipe(), SquaredError(), lr=[1e-3] * 50))

    make()  # what is made once in a process
    left, most = allocated(make)
    row = made[0].state.flat.data[0].nbytes
    assert most < (3 * 50 + 5) * row
    assert left >= 3 * 50 * row


def test_parameters_that_lie_side_by_side_are_not_copied() -> None:
    like, shapes = torch.zeros(1), {"weight": torch.Size((2, 3)), "bias": torch.Size((2,))}
    flat = Flat.empty(like, 4, shapes)
    assert flat.data.shape == (4, 8)
    assert Flat.of(flat.views()).data.data_ptr() == flat.data.data_ptr()
    apart = {name: view.clone() for name, view in flat.views().items()}
    assert Flat.of(apart).data.data_ptr() != flat.data.data_ptr()
    torch.testing.assert_close(Flat.of(apart).data, flat.data, equal_nan=True)


def test_a_total_counts_those_that_step_at_a_time() -> None:
    need = Footprint(kept=10, phases=(Phase(fixed=7, working=100), Phase(fixed=150, working=1)))
    assert need.total(5) == 7 + 50 + 500
    assert need.total(5, group=2) == 7 + 50 + 200
    assert need.total(1, group=2) == 10 + 150 + 1  # the other phase takes more
    assert need.group(members=5, memory=50 + 7 + 299) == 2
    assert need.group(members=5, memory=50 + 153) == 1  # the phases do not come at once


def ratios(only: str) -> dict[str, float]:
    """Return predicted over measured memory by shape, of the benchmark in processes of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", "--dry", "--only", only], cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = re.compile(r"(?:made on|held out) +(\S.*?) +(\d+) +(\d+) +(\d+\.\d\d)(?:  \*)?")
    return {found[1]: float(found[4]) for row in done.stdout.splitlines() if (found := line.fullmatch(row.strip()))}


linux = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and available()), reason="measured on Linux, where kernels do the step"
)


@linux
def test_a_process_takes_what_was_predicted() -> None:
    found = ratios("plain, width 48")
    assert list(found) == ["plain, width 48"]
    assert 0.75 < found["plain, width 48"] < 1.25


@linux
@pytest.mark.campaign
def test_most_shapes_held_out_take_what_was_predicted() -> None:
    found = ratios("held out")
    assert len(found) == 14
    assert sum(0.8 <= ratio <= 1.2 for ratio in found.values()) >= 11, found
    assert all(0.65 <= ratio <= 1.4 for ratio in found.values()), found
