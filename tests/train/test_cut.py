"""Populations cut into groups: the same bits whatever the cut, and after memory ran out in the middle of a step."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import Dropout, Ema, Mixup, Patience, Recipe
from poise.core.context import Batch
from poise.core.errors import PoiseWarning
from poise.train.cut import Cut
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows


class Centre(nn.Module):
    """Keeps a running mean. Not torch's norm: under vmap the last bits of its sums depend on a member's place."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return x - self.mean


class Hungry(nn.Module):
    """Fails as a full device does, once for each number in `fails`: so many forward passes later, behind the norm."""

    fails: list[int] = []  # noqa: RUF012  # shared by the copies of the module that a population makes

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 8), Centre(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.first(x))
        if self.training and self.fails:
            self.fails[0] -= 1
            if self.fails[0] < 0:
                self.fails.pop(0)
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.last(F.elu(hidden))


@pytest.fixture(autouse=True)
def fed() -> Any:
    Hungry.fails = []
    yield
    Hungry.fails = []


@pytest.fixture(scope="module")
def data() -> Rows:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 4, generator=generator)
    return Rows(inputs, F.one_hot(torch.randint(0, 3, (60,), generator=generator), 3).float())


def mean_loss(outputs: Tensor, batch: Batch) -> Tensor:
    return -(batch.targets * outputs.log_softmax(-1)).sum(-1).mean(-1)


def population(members: int = 6, **rest: Any) -> Population:
    recipe = Recipe(Dropout(0.2), Mixup(0.4), Ema(0.9), Patience(2))
    return Population(Hungry, recipe, CrossEntropy(), lr=[1e-2] * members, classes=3, **rest)


def trained(found: Population, data: Rows, rounds: int = 3) -> Population:
    for _ in range(rounds):
        found.train(data, 4, 20)
        found.evaluate(data, mean_loss)
    return found


def assert_same(first: Population, second: Population) -> None:
    ours, theirs = (torch.utils._pytree.tree_flatten_with_path(one.state_dict())[0] for one in (first, second))
    assert [path for path, _ in ours] == [path for path, _ in theirs]
    different = [
        torch.utils._pytree.keystr(path)
        for (path, a), (_, b) in zip(ours, theirs, strict=True)
        if (not torch.equal(a, b) if isinstance(a, Tensor) else a != b)
    ]
    assert different == []


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_results_do_not_depend_on_the_cut(size: int, data: Rows) -> None:
    whole, cut = trained(population(), data), population()
    cut.cut = Cut(size)
    cut.train(data, 0, 20)  # what plans the cut
    cut.cut.size = size
    assert_same(whole, trained(cut, data))
    assert cut.cut.size == size


@pytest.mark.parametrize("passes", [0, 5])
def test_a_step_that_ran_out_of_memory_is_taken_by_halves_and_changes_nothing(passes: int, data: Rows) -> None:
    """It fails behind the norm, whose running statistics have moved by then."""
    whole, hungry = trained(population(), data), population()
    hungry.train(data, 0, 20)
    Hungry.fails = [passes + 1]  # the first pass only finds out how the network is mapped
    with pytest.warns(PoiseWarning, match="memory ran out with 6 members of a population at a time.* it is 3"):
        trained(hungry, data)
    assert_same(whole, hungry)
    assert hungry.cut.size == 3


def test_it_halves_again_until_a_single_member_is_too_much(data: Rows) -> None:
    found = population(4)
    found.train(data, 1, 20)
    Hungry.fails = [0, 0, 0]
    with (
        pytest.warns(PoiseWarning, match="it is 1"),
        pytest.warns(PoiseWarning, match="it is 2"),
        pytest.raises(torch.OutOfMemoryError),
    ):
        found.train(data, 1, 20)


def test_the_error_is_raised_where_the_weights_have_moved(data: Rows) -> None:
    """Half a step cannot be undone once the optimizer has acted."""
    found = population(4)
    found.train(data, 1, 20)
    inner = type(found.program.optimizer)

    class Full(inner):  # type: ignore[misc, valid-type]  # the optimizer's own class
        def step(self, *given: Any) -> None:
            super().step(*given)
            raise torch.OutOfMemoryError("CUDA out of memory.")

    object.__setattr__(found.program, "optimizer", Full())
    with pytest.raises(torch.OutOfMemoryError):
        found.train(data, 1, 20)


def test_slices_are_as_equal_as_can_be() -> None:
    sizes = Cut(4).each(9, lambda places: places.stop - places.start)
    assert sizes == [3, 3, 3]


def test_a_limit_cuts_the_population_and_keeps_its_results(data: Rows) -> None:
    free = population(16)
    need = free.predicted_bytes(data, 20, score=mean_loss)
    cut = population(16, memory=int(0.9 * free.predicted_bytes(data, 20)))
    assert cut.predicted_bytes(data, 20) <= 0.9 * need
    assert_same(trained(free, data), trained(cut, data))
    assert cut.cut.size is not None
    assert 1 <= cut.cut.size < 16


def test_a_limit_that_no_cut_meets_is_told(data: Rows) -> None:
    with pytest.warns(PoiseWarning, match="a population of 6 members needs about .* MB, also one member at a time"):
        population(memory=1000).train(data, 1, 20)


def test_predicting_changes_nothing(data: Rows) -> None:
    asked = population()
    asked.predicted_bytes(data, 20, score=mean_loss)
    assert_same(trained(population(), data), trained(asked, data))
