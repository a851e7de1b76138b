"""What the members of an ensemble may share: batches, and the moment at which they stop."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import Dropout, Patience, Recipe
from poise.core.blocks import Blocks
from poise.core.errors import ArgumentError
from poise.kernels import native
from poise.models.tabular import Mlp
from poise.predict.ensemble import average_probabilities
from poise.train.jointly import joint_outputs
from poise.train.losses import CrossEntropy, SquaredError
from poise.train.optimizers import Sgd
from poise.train.population import Population, Rows

DRAW = torch.Generator().manual_seed(0)
X = torch.randn(60, 4, generator=DRAW)
Y = F.one_hot((X.sum(1) > 0).long(), 2).float()
DATA = Rows(X, Y)


def population(members: int = 3, recipe: Recipe | None = None, **rest: Any) -> Population:
    own = {"members": list(range(members)), "classes": 2, "seed": 5} | rest
    return Population(
        lambda: Mlp(4, 2, width=8, depth=1), recipe or Recipe(), CrossEntropy(), lr=[0.1] * members, **own
    )


def log_loss(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
    return -(batch.targets * outputs.log_softmax(-1)).sum(-1).mean(-1)


class Slope(nn.Module):
    """One weight, which starts at 0: what a step does to it tells the rows of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1] * self.weight


@pytest.mark.parametrize("kernels", [True, False])
def test_shared_batches_are_the_same_rows_in_each_step_and_own_ones_are_not(kernels: bool) -> None:
    rows = Rows(torch.ones(32, 1), 2.0 ** torch.arange(32)[:, None] / 2**16)

    def weights(batches: str, members: list[int]) -> torch.Tensor:
        found = []
        one = Population(Slope, Recipe(), SquaredError(), lr=[0.5] * len(members), members=members,
                         optimizer=Sgd(), batches=batches)  # fmt: skip
        with native(kernels):
            for _ in range(4):
                one.train(rows, 1, 8)
                found.append(one.weights()["weight"][:, 0].clone())
        return torch.stack(found)

    shared, own = weights("shared", [0, 1, 2]), weights("own", [0, 1, 2])
    assert torch.equal(shared, shared[:, :1].expand_as(shared))
    assert len(own[0].unique()) == 3
    # Which members there are, and who is first, changes nothing.
    assert torch.equal(weights("shared", [2, 7]), shared[:, :2])


def test_an_ensemble_stops_when_its_mean_answer_does() -> None:
    """Members whose own scores go on improving stop with the ensemble, and keep the weights of its best step."""
    together = population(recipe=Recipe(Patience(2)), stopping="ensemble")
    joint = iter([1.0, 0.5, 0.6, 0.7, 0.1])

    def score(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
        return torch.tensor([next(joint)]) if len(outputs) == 1 else torch.tensor([1.0, 2.0, 3.0]) / together.state.step

    kept = None
    for number in range(5):
        together.train(DATA, 2, 20)
        found = together.evaluate(DATA, score)
        assert torch.equal(found, torch.tensor([1.0, 2.0, 3.0]) / together.state.step)  # each its own
        if number == 1:
            kept = {name: value.clone() for name, value in together.weights().items()}
        if bool(together.stopped.all()):
            break
    assert number == 3
    assert kept is not None
    assert together.best_step.tolist() == [4, 4, 4]
    assert together.best_score.tolist() == [0.5, 0.5, 0.5]
    assert all(torch.equal(value, kept[name]) for name, value in together.stack().weights.items())


def test_the_mean_answer_is_the_mean_of_probabilities_or_of_numbers() -> None:
    outputs = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1))
    every = torch.ones(3, dtype=torch.bool)
    found = joint_outputs(outputs, every, 5, None)
    torch.testing.assert_close(found[0].exp(), average_probabilities(outputs))
    torch.testing.assert_close(joint_outputs(outputs, every, None, None)[0], outputs.mean(0))
    several = joint_outputs(outputs, every, None, Blocks((2, None, 2)))[0]
    torch.testing.assert_close(several[:, :2].exp(), average_probabilities(outputs[..., :2]))
    torch.testing.assert_close(several[:, 2], outputs[..., 2].mean(0))
    torch.testing.assert_close(several[:, 3:].exp(), average_probabilities(outputs[..., 3:]))


def test_a_member_that_diverged_has_no_say() -> None:
    outputs = torch.randn(3, 7, 2)
    outputs[1] = torch.nan
    sound = torch.tensor([True, False, True])
    torch.testing.assert_close(joint_outputs(outputs, sound, 2, None)[0].exp(), average_probabilities(outputs[sound]))


def test_an_ensemble_of_one_stops_as_a_member_does() -> None:
    steps = []
    for stopping in ("member", "ensemble"):
        one = population(1, Recipe(Dropout(0.1), Patience(2)), stopping=stopping)
        while not bool(one.stopped.all()) and one.state.step < 400:
            one.train(DATA, 4, 20)
            one.evaluate(Rows(X[:20], Y[:20].flip(1)), log_loss)
        steps.append((one.state.step, one.best_step.tolist()))
    assert steps[0] == steps[1]
    assert steps[0][0] < 400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batches": "same"}, '`Population.batches` must be "own" or "shared"; got \'same\''),
        ({"stopping": "all"}, '`Population.stopping` must be "member" or "ensemble"; got \'all\''),
    ],
)
def test_what_a_population_does_not_know_is_refused(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        population(**arguments)


def test_an_ensemble_cannot_stop_by_rows_that_are_each_members_own() -> None:
    with pytest.raises(ArgumentError, match=r"`Population.evaluate.rows` must be None with stopping"):
        population(stopping="ensemble").evaluate(DATA, log_loss, torch.zeros(3, 4, dtype=torch.int64))
