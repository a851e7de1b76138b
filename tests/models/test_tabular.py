"""The reference networks against values by hand, and the facts that regularizers read from them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poise import ArgumentError
from poise.core.select import roles_of
from poise.models.edges import quantile_edges
from poise.models.tabular import ColumnPlan, Mlp, NumericEmbedding, TabularNet

# Two numbers, a category of 3 levels, one of 12.
PLAN = ColumnPlan((0, 1, 2, 2, 2, *[3] * 12), ("numeric", "numeric", "category", "category"))


def net(**rest: object) -> TabularNet:
    edges = torch.tensor([[0.0, 1.0, 3.0], [-1.0, 0.0, 1.0]])
    return TabularNet(PLAN, 2, **({"width": 8, "depth": 2, "edges": edges} | rest))  # type: ignore[arg-type]


def test_piecewise_features_are_the_shares_of_each_bin_that_lie_below() -> None:
    embed = NumericEmbedding("piecewise", 1, torch.tensor([[0.0, 1.0, 3.0]]), 2)
    got = embed(torch.tensor([[-5.0], [0.25], [2.0], [9.0]]))
    assert got.tolist() == [[-5.0, 0.0, 0.0], [0.25, 0.25, 0.0], [2.0, 1.0, 0.5], [9.0, 1.0, 1.0]]


def test_units_are_a_linear_layer_of_each_columns_own_on_its_bins() -> None:
    edges = torch.tensor([[0.0, 1.0, 3.0], [-1.0, 0.0, 1.0]])
    embed, x = NumericEmbedding("piecewise", 2, edges, 2, units=4), torch.tensor([[0.25, -2.0], [9.0, 0.5]])
    bins = NumericEmbedding("piecewise", 2, edges, 2)(x).reshape(2, 2, 3)
    got = embed(x).reshape(2, 2, 5)
    assert torch.equal(got[..., 0], x)
    for column in range(2):
        wanted = torch.relu(bins[:, column] @ embed.weight[column] + embed.bias[column])
        torch.testing.assert_close(got[:, column, 1:], wanted)
    assert bool((got[..., 1:] > 0).any())


def test_periodic_features_are_cosines() -> None:
    embed = NumericEmbedding("periodic", 1, None, 2)
    with torch.no_grad():
        embed.frequency.copy_(torch.tensor([[1.0, 0.25]]))
        embed.phase.zero_()
    got = embed(torch.tensor([[1.0]]))[0].tolist()
    assert got == pytest.approx([1.0, 1.0, math.cos(math.pi / 2)], abs=1e-6)


def test_column_groups_name_the_column_that_each_input_of_the_first_layer_comes_from() -> None:
    first = net().blocks[0][0]
    assert first.column_groups == (0, 0, 0, 1, 1, 1, 2, 2, 2, *[3] * 8)
    assert first.in_features == 17


@pytest.mark.parametrize("size", [0, 4])
def test_column_groups_are_right_by_intervention(size: int) -> None:
    model = net(numeric_size=size)
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    x = torch.rand(4, 17)
    model(x)
    for group in range(4):
        moved = x.clone()
        moved[:, [place for place, own in enumerate(PLAN.groups) if own == group]] += 0.5
        model(moved)
        changed = (seen[-1] != seen[0]).any(0)
        owned = torch.tensor(model.blocks[0][0].column_groups) == group
        assert bool(changed.any())
        assert not bool((changed & ~owned).any())


def test_a_mixed_one_hot_is_embedded_as_the_mix_of_the_levels() -> None:
    model = net()
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    one, other = torch.zeros(1, 17), torch.zeros(1, 17)
    one[0, 5 + 3], other[0, 5 + 7] = 1.0, 1.0
    for row in (one, other, 0.3 * one + 0.7 * other):
        model(row)
    assert torch.allclose(seen[2][:, 9:], 0.3 * seen[0][:, 9:] + 0.7 * seen[1][:, 9:], atol=1e-6)
    assert torch.allclose(seen[0][0, 9:], model.levels[0][3])


def test_roles_of_embeddings_and_of_the_input_layer() -> None:
    roles = roles_of(net(numeric_size=4))
    assert (roles["numeric.weight"].kind, roles["numeric.bias"].kind) == ("weight", "bias")
    assert [name for name, role in roles.items() if role.inputs] == ["blocks.0.0.weight"]
    roles = roles_of(net(embedding="periodic"))
    kinds = {name: role.kind for name, role in roles.items()}
    assert kinds["levels.0"] == kinds["numeric.frequency"] == kinds["numeric.phase"] == "embedding"
    assert [name for name, role in roles.items() if role.inputs] == ["blocks.0.0.weight"]


def test_residual_adds_each_blocks_input_from_the_second_on() -> None:
    model = net(residual=True, depth=2)
    x = torch.rand(3, 17)
    seen = []
    model.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(x)
    inner = []
    model.blocks[1].register_forward_pre_hook(lambda _, args: inner.append(args[0]))
    model(x)
    assert torch.equal(seen[0], inner[0] + model.blocks[1](inner[0]))


@pytest.mark.parametrize(
    "column",
    [[5.0] * 10, [0.0, 1.0] * 5, list(range(10)), [1e6] * 10, [1e6, 1e6 + 1] * 5, [-3e8] * 9 + [3e8]],
)
@pytest.mark.parametrize("bins", [2, 8, 48])
def test_edges_increase_strictly_in_float32_also_for_constant_and_repeated_values(
    column: list[float], bins: int
) -> None:
    edges = quantile_edges(np.array(column)[:, None], [0], bins)
    assert edges.shape == (1, bins + 1)
    assert bool((edges.diff() > 0).all())
    features = NumericEmbedding("piecewise", 1, edges, bins)(torch.tensor(column, dtype=torch.float32)[:, None])
    assert bool(torch.isfinite(features).all())


def test_edges_are_the_quantiles() -> None:
    assert torch.allclose(quantile_edges(np.arange(101.0)[:, None], [0], 4), torch.arange(0, 101, 25.0), atol=1e-2)


@pytest.mark.parametrize("bins", [2, 8, 31])
def test_edges_of_a_column_without_ties_are_numpys_quantiles(bins: int) -> None:
    column = np.random.default_rng(bins).exponential(size=997)
    expected = np.quantile(column, np.linspace(0, 1, bins + 1))
    np.testing.assert_allclose(quantile_edges(column[:, None], [0], bins)[0].numpy(), expected, atol=1e-3)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.integers(1, 9))
def test_few_rows_or_few_values_have_numpys_quantiles(drawn: list[int], bins: int) -> None:
    columns = [np.array(drawn, dtype=float)] if len(drawn) <= 128 * bins else []
    columns.append(np.repeat(np.unique(drawn)[: max(1, bins - 1)], 1200).astype(float))
    for column in columns:
        expected = np.quantile(column, np.linspace(0, 1, bins + 1))
        np.testing.assert_allclose(quantile_edges(column[:, None], [0], bins)[0], expected, atol=0.01)


@pytest.mark.parametrize(
    ("bins", "others", "zeros"),
    [(8, 2100, 300), (8, 399, 8 * 128 - 399), (64, 3150, 50), (64, 1500, 64 * 32 - 1500), (16, 600, 8 * 128 - 600)],
)
def test_a_frequent_value_counts_as_one_bin_and_more_where_the_other_rows_are_few(
    bins: int, others: int, zeros: int
) -> None:
    rest = 1 + np.random.default_rng(0).exponential(size=others)
    edges = quantile_edges(np.concatenate([np.zeros(20_000), rest])[:, None], [0], bins)[0].numpy()
    thinned = np.quantile(np.concatenate([np.zeros(zeros), rest]), np.linspace(0, 1, bins + 1))
    np.testing.assert_allclose(edges, thinned, atol=2e-3)


def test_a_table_without_numbers_or_without_categories_works() -> None:
    for groups, kinds in (((0, 0), ("category",)), ((0, 1), ("numeric", "numeric"))):
        model = TabularNet(ColumnPlan(groups, kinds), 2, width=4, embedding="none")
        assert model(torch.rand(5, 2)).shape == (5, 2)


def test_every_number_of_a_group_of_several_is_read() -> None:
    plan = ColumnPlan((0, 0, 0, 1), ("numeric", "category"))
    model = TabularNet(plan, 1, width=8, embedding="none")
    inputs = torch.rand(1, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(model(inputs).sum(), inputs)
    assert bool((grad != 0).all())
    assert model.blocks[0][0].column_groups == (0, 0, 0, 1)


def test_mlp_is_linear_layers_and_activations() -> None:
    model = Mlp(3, 2, width=5, depth=2)
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert shapes == [(5, 3), (5,), (5, 5), (5,), (2, 5), (2,)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embedding": "fourier"}, "`TabularNet.embedding` must be piecewise, periodic or none; got 'fourier'"),
        ({"activation": "step"}, "`activation` must be one of"),
        ({"width": 0}, "`width` must be an int >= 1; got 0"),
        ({"depth": True}, "`depth` must be an int >= 1; got True"),
        ({"numeric_size": -1}, "`numeric_size` must be an int >= 0; got -1"),
        ({"edges": None}, "`TabularNet.edges` must be given"),
        ({"edges": torch.zeros(1, 3)}, "a row for each of 2 numeric columns; got 1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        net(**arguments)


@pytest.mark.parametrize(
    ("groups", "kinds", "message"),
    [
        ((0, 1, 0), ("category", "numeric"), "side by side"),
        ((0,), ("text",), "must be numeric or category"),
        ((0, 2), ("numeric", "numeric"), "must hold numbers from 0 to 1"),
    ],
)
def test_a_plan_that_would_drop_columns_is_refused(
    groups: tuple[int, ...], kinds: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        ColumnPlan(groups, kinds)
