"""The plain loop cut at every one of 95 steps and taken up with new objects ends as if it had not been cut."""

import io
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import BatchNorm, Cosine, Decay, Dropout, Ema, Mixup, Patience, Recipe
from poise.train.loader import ResumableLoader
from poise.train.population import Rows

STEPS, PER_EPOCH = 95, 5


class Training:
    """Everything a loop of one's own holds; its state goes through a file that holds tensors and numbers alone."""

    def __init__(self, table: Rows, seed: int) -> None:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
        recipe = Recipe(
            BatchNorm(), Dropout(Cosine(0.3, 0.1, steps=STEPS)), Mixup(0.4), Decay(0.1), Ema(0.9), Patience(4)
        )
        self.table = table
        self.run = recipe.start(model, seed=5, classes=3)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, STEPS)
        rows = list(zip(table.inputs, table.targets.argmax(1), strict=True))
        self.loader = ResumableLoader(rows, batch_size=len(table) // PER_EPOCH, shuffle=True)  # type: ignore[arg-type]
        self.batches = iter(self.loader)

    def state(self) -> dict[str, Any]:
        held = {"model": self.run.model, "run": self.run, "optimizer": self.optimizer, "schedule": self.schedule,
                "loader": self.loader}  # fmt: skip
        return {name: one.state_dict() for name, one in held.items()} | {"generator": torch.get_rng_state()}

    def load(self, state: dict[str, Any]) -> None:
        self.run.model.load_state_dict(state["model"])
        self.run.load_state_dict(state["run"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.loader.load_state_dict(state["loader"])
        torch.set_rng_state(state["generator"])

    def advance(self, last: int) -> None:
        while self.run.step_number < last:
            batch = next(self.batches, None)
            if batch is None:
                self.batches = iter(self.loader)
                continue
            x, y = self.run.batch(*batch)
            outputs = self.run.model(x)
            self.run.objective(F.cross_entropy(outputs, y), outputs=outputs).backward()
            self.run.update(self.optimizer)
            self.schedule.step()
            if self.run.step_number % PER_EPOCH == 0:
                # Scored by the labels of other rows, which soon goes wrong, so that patience ends training.
                with self.run.evaluation() as model, torch.no_grad():
                    score = F.cross_entropy(model(self.table.inputs), self.table.targets.roll(1, 0))
                self.run.stop(score)


def differing(first: Any, second: Any, path: str = "") -> list[str]:
    """Paths at which two states are not equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [path]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [found for name in first for found in differing(first[name], second[name], f"{path}/{name}")]
    if isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return [path]
        pairs = enumerate(zip(first, second, strict=True))
        return [found for place, pair in pairs for found in differing(*pair, f"{path}/{place}")]
    return [] if first == second else [path]


def read(file: bytes) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(file), weights_only=True)
    return state


@pytest.fixture(scope="module")
def files(table: Rows) -> list[bytes]:
    """The state after each step of an uninterrupted training run."""
    training, found = Training(table, seed=1), []
    for step in range(STEPS + 1):
        training.advance(step)
        file = io.BytesIO()
        torch.save(training.state(), file)
        found.append(file.getvalue())
    return found


pytestmark = pytest.mark.usefixtures("seeded")


def test_the_example_stops_early_and_keeps_a_best(files: list[bytes]) -> None:
    run = read(files[STEPS])["run"]
    assert run["stopped"]
    assert 0 < int(run["memory"]["patience"]["best_step"]) < STEPS - 25


def check_cut(stop: int, last: int, files: list[bytes], table: Rows) -> None:
    training = Training(table, seed=2)
    training.load(read(files[stop]))
    assert not differing(training.state(), read(files[stop]))
    training.advance(last)
    assert not differing(training.state(), read(files[last]))


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_cut_at_a_step_it_goes_on_as_if_it_had_not_been(stop: int, files: list[bytes], table: Rows) -> None:
    # Six steps hold an epoch's end and an evaluation; from there the next stop's test goes on.
    check_cut(stop, min(stop + 6, STEPS), files, table)


@pytest.mark.parametrize("stop", [3, 20, 51, 79])
def test_cut_at_a_step_it_ends_as_if_it_had_not_been(stop: int, files: list[bytes], table: Rows) -> None:
    check_cut(stop, STEPS, files, table)


@pytest.mark.campaign
@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_cut_at_any_step_it_ends_as_if_it_had_not_been(stop: int, files: list[bytes], table: Rows) -> None:
    check_cut(stop, STEPS, files, table)


@pytest.mark.parametrize("left_out", ["model", "optimizer", "schedule", "run", "loader", "generator"])
def test_each_part_of_the_state_is_needed(left_out: str, files: list[bytes], table: Rows) -> None:
    """The wrong loops that the tests above must catch: each forgets one thing."""
    training = Training(table, seed=2)
    training.load(read(files[82]) | {left_out: Training(table, seed=2).state()[left_out]})
    training.advance(training.run.step_number + STEPS - 82)
    assert differing(training.state(), read(files[STEPS]))
