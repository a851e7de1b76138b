"""Batch statistics of averaged weights: of which rows they are, in evaluation and when networks are handed on."""

from collections.abc import Iterator

import pytest
import torch

from poise import BatchNorm, Ema, Recipe
from poise.kernels import native
from poise.models.tabular import Mlp
from poise.train.losses import SquaredError
from poise.train.population import Population, Rows
from poise.train.restate import EVALUATED
from poise.train.rows import Picked

ROWS = 2 * EVALUATED
# As a table is that was written day by day: every column drifts along the rows.
X = torch.linspace(-1, 1, ROWS)[:, None] * torch.tensor([1.0, 2.0, -1.0]) + 0.1 * torch.randn(
    ROWS, 3, generator=torch.Generator().manual_seed(0)
)
TABLE = Rows(X, X[:, :1])
OWN = torch.stack([torch.arange(ROWS), torch.arange(ROWS).flip(0), torch.arange(ROWS)])


@pytest.fixture(params=[True, False], ids=["kernels", "vmap"])
def trained(request: pytest.FixtureRequest) -> Iterator[Population]:
    with native(request.param):
        recipe, dials = Recipe(BatchNorm(), Ema(0.9)), {"ema.decay": torch.tensor([0.9, 0.9, 0.0])}
        found = Population(lambda: Mlp(3, 1, width=8, depth=1), recipe, SquaredError(), lr=[1e-2] * 3, dials=dials)
        found.train(TABLE, 20, 64, OWN)
        yield found  # tests run inside too


def entering(population: Population, member: int, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return what enters the only norm, of all rows, in float64."""
    weight, bias = (weights[name][member].double() for name in ("layers.0.weight", "layers.0.bias"))
    return X.double() @ weight.T + bias


def statistics(buffers: dict[str, torch.Tensor], member: int) -> tuple[torch.Tensor, torch.Tensor]:
    found = {name.rsplit(".", 1)[1]: value[member] for name, value in buffers.items() if ".running_" in name}
    return found["running_mean"].double(), found["running_var"].double()


def test_networks_that_are_handed_on_have_the_statistics_of_all_their_rows(trained: Population) -> None:
    stack = trained.stack(trained=Picked(TABLE, OWN))
    for member in (0, 1):
        values = entering(trained, member, stack.weights)[OWN[member]]
        mean, variance = statistics(stack.buffers, member)
        torch.testing.assert_close(mean, values.mean(0), rtol=1e-5, atol=1e-5)
        wanted = torch.stack([values[0::2].var(0), values[1::2].var(0)]).mean(0)  # of the two parts that passed
        torch.testing.assert_close(variance, wanted, rtol=1e-5, atol=1e-6)
    assert all(map(torch.equal, statistics(stack.buffers, 2), statistics(trained.state.buffers, 2)))


def test_evaluation_has_those_of_rows_that_are_spread_over_all_of_them(trained: Population) -> None:
    for count in (EVALUATED + 400, ROWS):  # every second of the former are too few, the first 1,024 stand for half
        trained.train(TABLE, 1, 64, OWN[:, :count])
        values = entering(trained, 0, trained.weights())[:count]
        mean, _ = statistics(trained.buffers(), 0)
        assert float(((mean - values.mean(0)).abs() / values.std(0)).max()) < 0.02


def test_some_members_are_handed_on_as_all_are_and_the_others_are_left_as_they_were(trained: Population) -> None:
    before = {name: buffer.clone() for name, buffer in trained.buffers().items()}
    rows = Picked(TABLE, OWN)
    whole, some = trained.stack(trained=rows), trained.stack([2, 0], rows)
    for name, buffer in whole.buffers.items():
        torch.testing.assert_close(some.buffers[name], buffer[[2, 0]], rtol=1e-6, atol=1e-7)
    assert all(torch.equal(some.weights[name], weight[[2, 0]]) for name, weight in whole.weights.items())
    assert all(torch.equal(before[name], buffer) for name, buffer in trained.buffers().items())
    assert len(trained.stack([], rows)) == 0
    every, same = trained.stack(trained=TABLE), trained.stack(trained=Picked(TABLE, torch.arange(ROWS).expand(3, -1)))
    assert all(torch.equal(every.buffers[name], buffer) for name, buffer in same.buffers.items())


def test_kept_weights_are_handed_on_with_statistics_of_their_own(trained: Population) -> None:
    trained.evaluate(TABLE, lambda outputs, batch: outputs.flatten(1).mean(1), OWN)
    kept = {name: weight.clone() for name, weight in trained.weights().items()}
    trained.train(TABLE, 20, 64, OWN)
    stack = trained.stack(trained=Picked(TABLE, OWN))
    assert torch.equal(stack.weights["layers.0.weight"], kept["layers.0.weight"])
    mean, _ = statistics(stack.buffers, 0)
    torch.testing.assert_close(mean, entering(trained, 0, kept).mean(0), rtol=1e-5, atol=1e-5)
