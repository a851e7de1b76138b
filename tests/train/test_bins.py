"""Linear layers behind bins of numbers, without the features: the same outputs and gradients as with them."""

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


def test_columns_with_a_linear_layer_of_their_own_are_one_layer() -> None:
    for bins in (2, 24):
        assert kinds_of(net(bins, False, numeric_size=7), NUMBERS) == ["embedded", "linear", "activation", "linear"]
    wanted = ["embedded", "columns", "linear", "activation", "linear"]
    assert kinds_of(net(24, numeric_size=7), NUMBERS + 3) == wanted
    frozen = net(24, False, numeric_size=7)
    frozen.numeric.bias.requires_grad_(False)
    places = {name: (0, value.shape) for name, value in frozen.named_parameters() if value.requires_grad}
    assert read_chain(frozen, places, 8, NUMBERS) is None


def test_a_layer_between_features_and_product_keeps_the_features() -> None:
    network = net(16, False)
    network.blocks[0].insert(0, nn.Tanh())
    assert kinds_of(network, NUMBERS) == ["piecewise", "activation", "linear", "activation", "linear"]


@pytest.mark.parametrize("categories", [False, True])
@pytest.mark.parametrize("width", [1, 16, 64, 100, 128, 131])
@pytest.mark.parametrize(("bins", "size"), [(6, 0), (17, 0), (64, 0), (1, 16), (6, 5), (64, 16), (17, 40)])
def test_outputs_are_those_of_float64(categories: bool, width: int, bins: int, size: int) -> None:
    def build() -> TabularNet:
        return net(bins, categories, width=width, numeric_size=size)

    population = Population(build, Recipe(), SquaredError(), lr=[0.1, 0.1], seed=1)
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
@pytest.mark.parametrize(
    ("width", "bins", "embed_above", "size"),
    [(64, 6, 9, 0), (100, 17, 2, 0), (131, 64, 9, 0), (64, 6, 9, 16), (100, 17, 2, 5), (131, 64, 9, 40), (64, 1, 2, 1)],
)
def test_a_step_is_that_of_float64(categories: bool, width: int, bins: int, embed_above: int, size: int) -> None:
    """One step of plain gradient descent moves every weight by its gradient."""

    def build() -> TabularNet:
        return net(bins, categories, embed_above, width=width, numeric_size=size)

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


# A bias before a batch norm has no gradient but noise, which Adam makes a step of; that grows faster with more layers.
@pytest.mark.parametrize(
    ("recipe", "size"),
    [(Recipe(BatchNorm(), Dropout(0.1), Mixup(0.4)), 0), (Recipe(Dropout(0.1), Mixup(0.4)), 16)],
    ids=["bins", "embedded"],
)
@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_kernels_and_torch_train_alike(products: str, recipe: Recipe, size: int) -> None:
    losses = []
    for on in (True, False):
        with native(on):
            population = Population(
                lambda: net(24, numeric_size=size), recipe, SquaredError(), lr=[1e-2, 3e-3], seed=2, products=products
            )
            for _ in range(5):
                terms = population.train(Rows(X, Y), 4, 50)
            losses.append(terms["data"])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3 if products == "float32" else 0.03, atol=1e-3)


@pytest.mark.parametrize("size", [0, 16])
def test_a_missing_number_is_no_number_in_its_own_row_alone(size: int) -> None:
    population = Population(lambda: net(16, False, numeric_size=size), Recipe(), SquaredError(), lr=[0.1], seed=1)
    asked = X[:40, :NUMBERS].clone()
    whole = population.outputs(asked)
    asked[7, 2] = np.nan
    found = population.outputs(asked)
    assert bool(found[0, 7].isnan().all())
    others = [row for row in range(40) if row != 7]
    assert torch.equal(found[:, others], whole[:, others])


@pytest.mark.parametrize("size", [0, 16])
def test_a_member_has_the_same_bits_alone_and_among_others(size: int) -> None:
    def trained(members: list[int]) -> Population:
        population = Population(
            lambda: net(24, numeric_size=size), Recipe(Dropout(0.2)), SquaredError(), lr=[1e-2] * len(members),
            members=members, seed=3,
        )  # fmt: skip
        population.train(Rows(X, Y), 6, 32)
        return population

    several, alone = trained([0, 1, 2]), trained([2])
    for name, value in alone.weights().items():
        assert torch.equal(value[0], several.weights()[name][2]), name
