"""What the tests of training share: a small table, and populations on it with everything switched on."""

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import (
    L1,
    L2,
    BatchNorm,
    ClipNorm,
    Cosine,
    Decay,
    Dropout,
    Ema,
    HiddenNoise,
    InputNoise,
    LabelSmoothing,
    Linear,
    MaxNorm,
    Mixup,
    Patience,
    PoiseWarning,
    Recipe,
    SwapNoise,
    WeightNoise,
)  # fmt: skip
from poise.core.context import Batch
from poise.core.dial import dials_of
from poise.core.regularizer import Regularizer
from poise.core.schedule import OneCycle
from poise.models.tabular import Mlp
from poise.testing import sample_for
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows
from poise.train.run import Run

COLUMNS, CLASSES = 7, 3


def everything() -> Recipe:
    return Recipe(
        BatchNorm(), Dropout(0.3), HiddenNoise(0.1), WeightNoise(0.01), InputNoise(0.1), SwapNoise(0.1), Mixup(0.4),
        LabelSmoothing(0.1), L1(1e-4), L2(1e-4), Decay(0.05), ClipNorm(1.0), MaxNorm(3.0), Ema(0.9), Patience(2),
    )  # fmt: skip


def spread(members: int) -> dict[str, Any]:
    """Learning rates, dials and ids that differ by member; a member's are the same in every population."""
    share = torch.arange(members) / 10
    return {
        "lr": (1e-3 * (1 + share)).tolist(),
        "dials": {
            "dropout.p": (0.05 + share).clamp(max=0.9),
            "mixup.alpha": 0.1 + share,
            "decay.rate": 0.01 * (1 + share),
            "l1.weight": 1e-4 + 1e-3 * share,
            "clip_norm.limit": 0.2 + share,
            "ema.decay": 0.5 + 0.02 * torch.arange(members),
            "batch_norm.share": (0.2 + 0.2 * torch.arange(members)).clamp(max=1),
            "patience.evaluations": 1 + torch.arange(members) % 3,
        },
    }


def chosen(settings: dict[str, Any], places: list[int]) -> dict[str, Any]:
    """The settings of some members, with the ids that they had."""
    return {
        "lr": [settings["lr"][place] for place in places],
        "dials": {name: value[places] for name, value in settings["dials"].items()},
        "members": places,
    }


def mean_loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
    return -(batch.targets * outputs.log_softmax(-1)).sum(-1).mean(-1)


@pytest.fixture(scope="session")
def table() -> Rows:
    """90 rows, 7 columns, 3 classes that a linear map of the columns decides, with noise."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(90, COLUMNS, generator=generator)
    scores = inputs @ torch.randn(COLUMNS, CLASSES, generator=generator) + torch.randn(90, CLASSES, generator=generator)
    return Rows(inputs, F.one_hot(scores.argmax(1), CLASSES).float())


@pytest.fixture(scope="session")
def made() -> Callable[..., Population]:
    """Build a population of small networks; everything is switched on unless a recipe is given."""

    def make(width: int = 16, recipe: Recipe | None = None, **rest: Any) -> Population:
        return Population(
            lambda: Mlp(COLUMNS, CLASSES, width=width, depth=2),
            everything() if recipe is None else recipe,
            CrossEntropy(),
            classes=CLASSES,
            schedule=OneCycle(1.0, 40),
            **rest,
        )

    return make


@pytest.fixture(scope="session")
def trained(table: Rows) -> Callable[..., Population]:
    """Train and evaluate in turns: `rounds` times 6 steps of 20 rows."""

    def train(population: Population, rounds: int = 4) -> Population:
        for _ in range(rounds):
            population.train(table, 6, 20)
            population.evaluate(table, mean_loss)
        return population

    return train


@pytest.fixture(scope="session")
def tools() -> dict[str, Any]:
    return {"everything": everything, "spread": spread, "chosen": chosen, "mean_loss": mean_loss}


# --- the user's own loop ---------------------------------------------------------------------------------------------


def network(seed: int = 0, **rest: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Mlp(7, 3, width=8, depth=2, **rest)


def full() -> Recipe:
    return Recipe(
        BatchNorm(), Dropout(Cosine(0.5, 0.1, steps=20)), HiddenNoise(0.1), WeightNoise(0.01), InputNoise(0.1),
        Mixup(0.4), LabelSmoothing(0.1), L1(Linear(0.0, 1e-3, steps=10)), L2(1e-3), ClipNorm(0.5), Decay(0.1),
        MaxNorm(2.0), Ema(0.8), Patience(3),
    )  # fmt: skip


def one_step(run: Run, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    x, y = run.batch(inputs, targets)
    outputs = run.model(x)
    loss = run.objective(F.cross_entropy(outputs, y), outputs=outputs)
    loss.backward()
    run.update(optimizer)
    return loss.detach()


def tensors_of(run: Run) -> dict[str, torch.Tensor]:
    found = {f"model/{name}": tensor for name, tensor in run.model.state_dict().items()}
    found |= {f"average/{name}": tensor for name, tensor in (run.averaged or {}).items()}
    for part, memory in run.memory.items():
        found |= {f"{part}/{name}": tensor for name, tensor in memory.items()}
    for kind, tensors in (run.best or {}).items():
        found |= {f"best {kind}/{name}": tensor for name, tensor in tensors.items()}
    return found


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def trained_loop(table: Rows, run: Run, optimizer: Any, first: int, last: int) -> None:
    for step in range(first, last):
        rows = (torch.arange(20) * 3 + step) % len(table)
        one_step(run, optimizer, table.inputs[rows], table.targets.argmax(1)[rows])
        with run.evaluation() as model:
            score = F.cross_entropy(model(table.inputs), table.targets).detach()
        run.stop(score)


def started(table: Rows, recipe: Recipe, steps: int = 8) -> tuple[Run, torch.optim.Optimizer]:
    run = recipe.start(network())
    optimizer = torch.optim.Adam(run.model.parameters(), lr=1e-2)
    for _ in range(steps):
        one_step(run, optimizer, table.inputs, table.targets)
    return run, optimizer


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(7, 7)
        self.frozen = nn.Linear(7, 7).requires_grad_(False)
        self.tied = nn.Linear(7, 7, bias=False)
        self.tied.weight = self.first.weight
        self.turned = nn.Parameter(torch.randn(7, 3).t())
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.empty = nn.Parameter(torch.zeros(0, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.tied(self.frozen(self.first(x))), self.turned) * self.gain + self.empty.sum()


@pytest.fixture(scope="session")
def loop() -> SimpleNamespace:
    functions = (network, full, one_step, tensors_of, assert_equal, trained_loop, started, Odd)
    return SimpleNamespace(**{function.__name__: function for function in functions})


class OfTasks:
    """The sample's loss: of one task, or a dict of several."""

    def __init__(self, part: Regularizer) -> None:
        self.sample, self.one = sample_for(part), CrossEntropy()

    def __call__(self, outputs: Tensor, batch: Any) -> Any:
        tasks = self.sample.task_targets(batch.targets)
        each = {task: self.one(outputs, batch._replace(targets=own)) for task, own in tasks.items()}
        return each or self.one(outputs, batch)


@pytest.fixture(scope="session")
def population_of() -> Callable[[Regularizer, list[int]], tuple[Population, Rows]]:
    """Makes a population whose members have one part at different strengths, and the rows that it trains on."""
    return _population_of


def _population_of(part: Regularizer, members: list[int]) -> tuple[Population, Rows]:
    sample = sample_for(part)
    dials = {}
    for name, declared in dials_of(type(part)).items():
        value = float(part.dials()[name])
        step = 0.25 * (1.0 if torch.isinf(torch.tensor(declared.neutral)) else declared.neutral - value)
        dials[f"{part.name}.{name}"] = torch.tensor([value + m * step for m in members])
    torch.manual_seed(9)
    teacher = sample.module().eval() if "teacher" in part.needs else None
    rates = [0.01 * (1 + m) for m in members]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)
        population = Population(
            sample.module, Recipe(part), OfTasks(part), lr=rates, members=members, dials=dials, seed=3,
            columns=sample.columns, classes=sample.classes, teacher=teacher,
        )  # fmt: skip
    return population, Rows(sample.inputs.float(), sample.targets.float(), sample.weights.float())
