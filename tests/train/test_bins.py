"""A product behind bins of numbers, without the features: the same outputs and gradients as with them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from poise import BatchNorm, Dropout, Mixup, Recipe
from poise.kernels import available, native
from poise.kernels.chain import KINDS
from poise.models.edges import quantile_edges
from poise.models.tabular import ColumnPlan, TabularNet
from poise.train.chain import FEWEST_BINS, read_chain
from poise.train.losses import SquaredError
from poise.train.optimizers import Sgd
from poise.train.population import Population, Rows

pytestmark = pytest.mark.skipif(not available(), reason="the native kernels are not in use")

NUMBERS, ROWS = 5, 150
DRAW = torch.Generator().manual_seed(0)
X = torch.cat([torch.randn(ROWS, NUMBERS, generator=DRAW), (torch.rand(ROWS, 3, generator=DRAW) > 0.5).float()], 1)
Y = torch.randn(ROWS, 1, generator=DRAW)


def plan_of(categories: bool) -> ColumnPlan:
    kinds = ("numeric",) * NUMBERS + ("category",) * categories
    return ColumnPlan(tuple(range(NUMBERS)) + (NUMBERS,) * 3 * categories, kinds)


def rows_of(categories: bool) -> torch.Tensor:
    return X if categories else X[:, :NUMBERS]


def net(bins: int, categories: bool = True, embed_above: int = 9, **rest: Any) -> TabularNet:
    edges = quantile_edges(X.numpy(), list(range(NUMBERS)), bins)
    return TabularNet(
        plan_of(categories), 1, edges=edges, embed_above=embed_above, **({"width": 64, "depth": 1} | rest)
    )


def kinds_of(network: TabularNet, columns: int, products: str = "float32") -> list[str]:
    places, place = {}, 0
    for name, value in network.named_parameters():
        places[name] = (place, value.shape)
        place += value.numel()
    plan = read_chain(network, places, 8, columns, products)
    assert plan is not None
    names = {number: name for name, number in KINDS.items()}
    return [names[layer.kind] for layer in plan.layers]


def test_a_layer_of_bins_takes_the_place_of_features_and_product() -> None:
    fewest = FEWEST_BINS["float32"]
    assert kinds_of(net(fewest, False), NUMBERS) == ["bins", "activation", "linear"]
    assert kinds_of(net(fewest), NUMBERS + 3) == ["columns", "bins", "linear", "activation", "linear"]
    assert kinds_of(net(fewest, embed_above=2), NUMBERS + 3) == ["levels", "bins", "linear", "activation", "linear"]
    assert kinds_of(net(fewest - 1, False), NUMBERS) == ["piecewise", "linear", "activation", "linear"]
    fewest = FEWEST_BINS["bfloat16"]
    assert kinds_of(net(fewest - 1, False), NUMBERS, "bfloat16") == ["piecewise", "linear", "activation", "linear"]
    assert kinds_of(net(fewest, False), NUMBERS, "bfloat16") == ["bins", "activation", "linear"]


def test_a_layer_between_features_and_product_keeps_the_features() -> None:
    network = net(16, False)
    network.blocks[0].insert(0, nn.Tanh())
    assert kinds_of(network, NUMBERS) == ["piecewise", "activation", "linear", "activation", "linear"]


@pytest.mark.parametrize("categories", [False, True])
@pytest.mark.parametrize("width", [1, 16, 64, 100, 128, 131])
@pytest.mark.parametrize("bins", [6, 17, 64])
def test_outputs_are_those_of_float64(categories: bool, width: int, bins: int) -> None:
    recipe = Recipe()
    population = Population(lambda: net(bins, categories, width=width), recipe, SquaredError(), lr=[0.1, 0.1], seed=1)
    edges = quantile_edges(X.numpy(), list(range(NUMBERS)), bins)
    asked = rows_of(categories).clone()
    asked[0, :NUMBERS] = edges[:, 0] - 5  # before the first bin
    asked[1, :NUMBERS] = edges[:, -1] + 5  # behind the last
    asked[2 : 2 + bins, :NUMBERS] = edges[:, :-1].T  # where a bin begins
    found = population.outputs(asked)
    for place in range(2):
        alone = population.stack().network(place).double()
        torch.testing.assert_close(found[place].double(), alone(asked.double()), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("categories", [False, True])
@pytest.mark.parametrize(("width", "bins", "embed_above"), [(64, 6, 9), (100, 17, 2), (131, 64, 9)])
def test_a_step_is_that_of_float64(categories: bool, width: int, bins: int, embed_above: int) -> None:
    """One step of plain gradient descent moves every weight by its gradient."""

    def build() -> TabularNet:
        return net(bins, categories, embed_above, width=width)

    rows = rows_of(categories)
    population = Population(build, Recipe(), SquaredError(), lr=[1.0, 1.0], seed=1, optimizer=Sgd())
    before = [population.stack().network(place).double() for place in range(2)]
    population.train(Rows(rows, Y), 1, ROWS)
    for place in range(2):
        alone = before[place]
        torch.square(alone(rows.double()) - Y.double()).mean().backward()
        moved = dict(population.stack().network(place).named_parameters())
        for name, value in alone.named_parameters():
            assert value.grad is not None
            torch.testing.assert_close(moved[name].double(), value.detach() - value.grad, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_kernels_and_torch_train_alike(products: str) -> None:
    recipe, losses = Recipe(BatchNorm(), Dropout(0.1), Mixup(0.4)), []
    for on in (True, False):
        with native(on):
            population = Population(lambda: net(24), recipe, SquaredError(), lr=[1e-2, 3e-3], seed=2, products=products)
            for _ in range(5):
                terms = population.train(Rows(X, Y), 4, 50)
            losses.append(terms["data"])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3 if products == "float32" else 0.03, atol=1e-3)


def test_a_missing_number_is_no_number_in_its_own_row_alone() -> None:
    population = Population(lambda: net(16, False), Recipe(), SquaredError(), lr=[0.1], seed=1)
    asked = X[:40, :NUMBERS].clone()
    whole = population.outputs(asked)
    asked[7, 2] = np.nan
    found = population.outputs(asked)
    assert bool(found[0, 7].isnan().all())
    others = [row for row in range(40) if row != 7]
    assert torch.equal(found[:, others], whole[:, others])


def test_a_member_has_the_same_bits_alone_and_among_others() -> None:
    def trained(members: list[int]) -> Population:
        population = Population(
            lambda: net(24), Recipe(Dropout(0.2)), SquaredError(), lr=[1e-2] * len(members), members=members, seed=3
        )
        population.train(Rows(X, Y), 6, 32)
        return population

    several, alone = trained([0, 1, 2]), trained([2])
    for name, value in alone.weights().items():
        assert torch.equal(value[0], several.weights()[name][2]), name
