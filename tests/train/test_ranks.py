"""Two processes under DistributedDataParallel: what one process with two micro-batches does; decisions agree."""

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import ArgumentError, Dropout, Recipe

SCRIPT = Path(__file__).with_name("ranks_script.py")
# The recipe has everything at once, also what fights.
pytestmark = [
    pytest.mark.filterwarnings("ignore:l2 and decay both shrink:poise.PoiseWarning"),
    pytest.mark.filterwarnings("ignore:averaged weights are not exactly zero:poise.PoiseWarning"),
]


def script() -> Any:
    spec = importlib.util.spec_from_file_location("ranks_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-W", "ignore", str(SCRIPT)]
    children = [subprocess.Popen([*command, str(rank), "2", port, str(out)]) for rank in range(2)]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_all_processes_hold_the_same_weights_and_averages(both: list[dict[str, Any]]) -> None:
    first, second = both
    for kind in ("weights", "averaged"):
        assert [name for name in first[kind] if not torch.equal(first[kind][name], second[kind][name])] == []


def test_all_processes_stop_at_the_same_evaluation_and_keep_the_same_best(both: list[dict[str, Any]]) -> None:
    first, second = both
    assert first["stops"] == second["stops"] == [False, False, False, False, True, True]
    for name, best in first["best"]["weights"].items():
        assert torch.equal(best, second["best"]["weights"][name])


def test_two_processes_equal_one_with_two_micro_batches(both: list[dict[str, Any]]) -> None:
    own = script()
    run = own.RECIPE.start(own.network(), seed=5)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(own.STEPS):
        for rank in range(2):
            inputs, targets = run.batch(*own.rows(step, rank))
            outputs = run.model(inputs)
            (run.objective(F.cross_entropy(outputs, targets), outputs=outputs) / 2).backward()
        run.update(optimizer)
    for name, weight in run.model.state_dict().items():
        torch.testing.assert_close(both[0]["weights"][name], weight, rtol=1e-12, atol=1e-12)
    for name, weight in run.averaged.items():
        torch.testing.assert_close(both[0]["averaged"][name], weight, rtol=1e-12, atol=1e-12)


def test_a_model_that_is_compiled_or_a_shell_around_one_is_refused_before_layers_are_missed() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="Start first, then compile"):
        Recipe(Dropout(0.5)).start(torch.compile(model, backend="eager"))
