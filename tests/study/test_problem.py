"""A table as tensors: the score against torch's losses, the edges, the network."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from poise.core.context import Batch
from poise.models.tabular import ColumnPlan
from poise.study.heads import Head
from poise.study.problem import Problem
from poise.study.table_network import Design

DRAW = np.random.default_rng(0)
PLAN = ColumnPlan((0, 1, 2, 2), ("numeric", "numeric", "category"))
CODES = np.array([0, 1, 2, 1, 0, 2])


def classes(weights: list[float] | None = None, design: Design | None = None) -> Problem:
    own = None if weights is None else np.array(weights)
    inputs = DRAW.normal(size=(6, 4))
    return Problem.of(inputs, [CODES], [Head.of("y", 3, own)], plan=PLAN, design=design or Design())


def several(problem: Problem, members: int = 2) -> torch.Tensor:
    return problem.rows.targets.expand(members, *problem.rows.targets.shape)


@pytest.mark.parametrize("weights", [None, [1.0, 4.0, 0.25]])
def test_the_score_is_torchs_weighted_cross_entropy(weights: list[float] | None) -> None:
    problem = classes(weights)
    outputs = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    found = problem.score(outputs, Batch(None, several(problem)))
    for member in range(2):
        oracle = F.cross_entropy(outputs[member], torch.tensor(CODES), weight=problem.heads[0].class_weights)
        torch.testing.assert_close(found[member], oracle)


@pytest.mark.parametrize("weights", [None, [1.0, 4.0, 0.25]])
def test_a_row_of_weight_2_scores_as_the_row_twice(weights: list[float] | None) -> None:
    problem = classes(weights)
    outputs = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(1))
    counts = torch.tensor([1, 2, 0, 3, 1, 1])
    found = problem.score(outputs, Batch(None, several(problem, 1), counts.float()[None]))
    rows = torch.repeat_interleave(torch.arange(6), counts)
    oracle = F.cross_entropy(outputs[0, rows], torch.tensor(CODES)[rows], weight=problem.heads[0].class_weights)
    torch.testing.assert_close(found[0], oracle)


def test_a_row_of_weight_0_is_not_looked_at_and_another_row_that_is_nan_spoils_its_member_alone() -> None:
    problem, outputs = classes([1.0, 4.0, 0.25]), torch.zeros(2, 6, 3)
    outputs[:, 0] = torch.nan
    mask = torch.ones(2, 6)
    mask[0, 0] = 0
    found = problem.score(outputs, Batch(None, several(problem), mask))
    torch.testing.assert_close(found[0], torch.tensor(3.0).log())
    assert found[1].isnan()


def test_a_regression_scores_by_the_weighted_mean_of_squares() -> None:
    y = DRAW.normal(size=6)
    problem = Problem.of(DRAW.normal(size=(6, 4)), [y], [Head("y", None)], plan=PLAN, design=Design())
    outputs, weights = torch.randn(2, 6, 1, generator=torch.Generator().manual_seed(2)), torch.rand(2, 6)
    found = problem.score(outputs, Batch(None, several(problem), weights))
    oracle = [np.average((outputs[m, :, 0].numpy() - y) ** 2, weights=weights[m].numpy()) for m in range(2)]
    np.testing.assert_allclose(found.numpy(), oracle, rtol=2e-6)
    assert problem.outputs == 1


def test_the_loss_weighs_classes_by_the_root_of_what_was_asked_and_the_decision_by_all_of_it() -> None:
    problem = classes([1.0, 4.0, 0.25])
    assert problem.heads[0].class_weights is not None
    assert problem.heads[0].decision_weights is not None
    torch.testing.assert_close(problem.heads[0].class_weights, torch.tensor([1.0, 2.0, 0.5]))
    assert problem.heads[0].decision_weights.tolist() == [1.0, 4.0, 0.25]


def test_edges_are_the_quantiles_of_the_numeric_columns_and_wide_tables_get_fewer_bins() -> None:
    problem = classes()
    edges = problem.edges()
    assert edges is not None
    assert edges.shape == (2, 9)
    oracle = np.quantile(problem.rows.inputs[:, :2].numpy(), np.linspace(0, 1, 9), axis=0).T
    np.testing.assert_allclose(edges.numpy(), oracle, atol=1e-4)
    assert bool((edges.diff(dim=1) > 0).all())
    wide = ColumnPlan(tuple(range(300)), ("numeric",) * 300)
    many = Problem.of(DRAW.normal(size=(6, 300)), [CODES], [Head("y", 3)], plan=wide, design=Design()).edges()
    assert many is not None
    assert many.shape == (300, 3)


@pytest.mark.parametrize("design", [Design(embedding="none"), Design(embedding="periodic")])
def test_a_design_without_bins_has_no_edges(design: Design) -> None:
    assert classes(design=design).edges() is None


def test_the_network_has_the_designs_layers_and_the_problems_outputs() -> None:
    problem = classes(design=Design(width=5, depth=2))
    net = problem.builder()()
    shapes = [tuple(p.shape) for name, p in net.named_parameters() if name.endswith("weight")]
    assert shapes == [(5, 2 * 9 + 2), (5, 5), (3, 5)]
    assert net(problem.rows.inputs).shape == (6, 3)
    assert problem.columns.tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize(("rows", "columns", "bins"), [(500, 2, 8), (5_999, 2, 8), (6_000, 2, 64), (500, 100, 5)])
def test_many_rows_fill_more_bins_and_wide_tables_get_fewer(rows: int, columns: int, bins: int) -> None:
    plan = ColumnPlan(tuple(range(columns)), ("numeric",) * columns)
    edges = Design().edges(plan, torch.rand(rows, columns))
    assert edges is not None
    assert edges.shape == (columns, bins + 1)
