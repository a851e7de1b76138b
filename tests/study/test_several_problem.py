"""Several targets as one problem: encoded side by side, scored head by head, trained as torch would."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from poise.core.blocks import Blocks
from poise.core.context import Batch
from poise.core.errors import DataError
from poise.core.recipe import Recipe
from poise.models.tabular import ColumnPlan
from poise.objective import InputGradientPenalty
from poise.study.folds import make_folds
from poise.study.heads import Head
from poise.study.labels import encoded, is_known, strata
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.table_network import Design
from poise.train.optimizers import Adam
from poise.train.population import Population

Make = Callable[..., Prepared]
GRID = [1.05**power for power in range(-60, 61)]  # temperatures from 0.05 to 19


def test_targets_stand_side_by_side_with_their_presence_behind(both: Prepared) -> None:
    targets, rows = both.problem.rows.targets, both.development
    assert both.problem.blocks == Blocks((2, None), presence=True)
    assert targets.shape == (len(rows), 5)
    codes, amounts = (own[rows] for own in both.codes)
    assert np.array_equal(targets[:, 3].numpy() > 0, codes >= 0)
    assert np.array_equal(targets[:, 4].numpy() > 0, ~np.isnan(amounts))
    assert np.array_equal(targets[codes >= 0, :2].argmax(1).numpy(), codes[codes >= 0])
    np.testing.assert_array_equal(targets[:, 2].numpy(), np.nan_to_num(amounts))
    assert bool((targets[codes < 0, :2] == 0).all())


def test_where_no_label_is_missing_there_is_no_presence(frame: pd.DataFrame, make_both: Make) -> None:
    problem = make_both(frame).problem
    assert problem.blocks == Blocks((2, None), presence=False)
    assert problem.rows.targets.shape[1] == 3


def test_scale_and_class_weights_are_those_of_the_known_development_rows(both: Prepared, holes: pd.DataFrame) -> None:
    own = holes.iloc[both.origin].iloc[both.development]
    amounts = own.amount.dropna()
    assert (both.targets[1].mean, both.targets[1].scale) == pytest.approx((amounts.mean(), amounts.std(ddof=0)))
    counts = own.label.value_counts()
    oracle = np.array([counts.sum() / (2 * counts[label]) for label in ("no", "yes")])
    weights = both.problem.heads[0].decision_weights
    assert weights is not None
    np.testing.assert_allclose(weights, oracle)


def test_rows_without_any_label_are_left_out_and_those_with_one_are_told_of(
    both: Prepared, holes: pd.DataFrame
) -> None:
    labels = holes[["label", "amount"]]
    assert len(both.table.frame) == int(labels.notna().any(axis=1).sum())
    assert both.warnings[0] == f"{int(labels.isna().all(axis=1).sum())} rows without a target were left out."
    assert sum("is missing in" in note for note in both.warnings) == 2


def test_the_score_is_the_mean_of_torchs_losses_on_the_rows_that_know_each(both: Prepared) -> None:
    problem = both.problem
    outputs = torch.randn(2, len(problem.rows), 3, generator=torch.Generator().manual_seed(0))
    targets = problem.rows.targets.expand(2, *problem.rows.targets.shape)
    mask = torch.ones(2, len(problem.rows))
    mask[1, ::2] = 0
    found = problem.score(outputs, Batch(None, targets, mask))
    codes, amounts = (torch.from_numpy(own[both.development]) for own in both.codes)
    for member in range(2):
        kind, size = (codes >= 0) & (mask[member] > 0), ~amounts.isnan() & (mask[member] > 0)
        weights = problem.heads[0].class_weights
        oracle = F.cross_entropy(outputs[member, kind, :2], codes[kind], weight=weights)
        oracle = (oracle + F.mse_loss(outputs[member, size, 2], amounts[size])) / 2
        torch.testing.assert_close(found[member], oracle)


def test_a_head_that_no_row_knows_does_not_count_in_that_members_score(both: Prepared) -> None:
    problem = both.problem
    outputs = torch.randn(1, len(problem.rows), 3, generator=torch.Generator().manual_seed(0))
    amounts = torch.from_numpy(both.codes[1][both.development])
    only = (problem.rows.targets[:, 3] == 0).float()[None]  # rows without a label of the first target
    found = problem.score(outputs, Batch(None, problem.rows.targets[None], only))
    size = ~amounts.isnan() & (only[0] > 0)
    torch.testing.assert_close(found[0], F.mse_loss(outputs[0, size, 2], amounts[size]))


def test_answers_are_scored_as_the_search_scores_outputs(both: Prepared) -> None:
    problem = both.problem
    outputs = torch.randn(3, len(problem.rows), 3, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(len(problem.rows), generator=torch.Generator().manual_seed(1))
    answers, wanted = problem.answers(outputs), problem.rows.targets
    targets = wanted.expand(3, *wanted.shape)
    for temperature in (1.0, 2.0):
        found = problem.answer_score(answers, wanted, weights, (temperature, 1.0))
        own = torch.cat([outputs[..., :2] / temperature, outputs[..., 2:]], dim=-1)
        torch.testing.assert_close(found, problem.score(own, Batch(None, targets, weights.expand(3, -1))))
    # Each after the temperature that suits it.
    best = problem.answer_score(answers, wanted, weights)
    for place in range(3):
        grid = [float(problem.answer_score(answers[place : place + 1], wanted, weights, (t, 1.0))) for t in GRID]
        assert 0.999 * min(grid) < float(best[place]) < 1.02 * min(grid) < grid[0]


def test_a_population_learns_several_heads_as_torchs_own_loop_does(both: Prepared) -> None:
    problem, steps = both.problem, 5
    rows = problem.rows
    own = Population(problem.builder(), Recipe(), problem.loss(), lr=[0.01], optimizer=Adam(), blocks=problem.blocks)
    network = problem.builder()()
    network.load_state_dict({name: weight[0].clone() for name, weight in own.weights().items()}, strict=False)
    terms = own.train(rows, steps, len(rows))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    codes, amounts = (torch.from_numpy(labels[both.development]) for labels in both.codes)
    weights = problem.heads[0].class_weights
    assert weights is not None
    for _ in range(steps):
        outputs = network(rows.inputs)
        kind, size = codes >= 0, ~amounts.isnan()
        each = F.cross_entropy(outputs[kind, :2], codes[kind], weight=weights, reduction="none")
        loss = (each.mean() + F.mse_loss(outputs[size, 2], amounts[size])) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert set(terms) == {"data/0:label", "data/1:amount"}
    torch.testing.assert_close(own.outputs(rows.inputs)[0], network(rows.inputs).detach(), atol=2e-5, rtol=2e-4)


def test_a_part_that_calls_the_loss_gets_that_of_all_heads(both: Prepared) -> None:
    problem = both.problem
    own = Population(
        problem.builder(), Recipe(InputGradientPenalty(0.1)), problem.loss(), lr=[0.01], blocks=problem.blocks
    )
    terms = own.train(problem.rows, 1, len(problem.rows))
    assert float(terms["input_gradient_penalty"]) > 0
    assert set(terms) > {"data/0:label", "data/1:amount"}


def test_alone_is_the_problem_that_the_target_would_have_by_itself(
    frame: pd.DataFrame, numbers: Prepared, make_both: Make
) -> None:
    alone = make_both(frame, seed=0).alone(1)
    assert alone.problem.plain
    assert [target.name for target in alone.targets] == ["amount"]
    amounts = frame.amount.to_numpy()[alone.development]
    np.testing.assert_allclose(
        alone.problem.rows.targets[:, 0].numpy(), (amounts - amounts.mean()) / amounts.std(), rtol=1e-5, atol=1e-6
    )
    assert alone.problem.heads == numbers.problem.heads


def test_alone_with_holes_keeps_the_rows_and_their_presence(both: Prepared) -> None:
    alone = both.problem.alone(0)
    assert not alone.plain
    assert len(alone.rows) == len(both.problem.rows)
    assert torch.equal(alone.rows.targets, both.problem.rows.targets[:, [0, 1, 3]])


def test_rows_are_divided_by_the_first_class_target_a_missing_class_being_one_more(both: Prepared) -> None:
    assert both.problem.lead == 0
    codes = both.codes[0][both.development]
    assert both.strata.tolist() == np.where(codes < 0, 2, codes).tolist()
    folds = make_folds(both.strata, task="classification", count=3, seed=0)
    for mask in folds.validation.numpy():
        np.testing.assert_allclose(
            np.bincount(both.strata[mask > 0]) / mask.sum(), np.bincount(both.strata) / len(codes), atol=0.05
        )


def test_a_missing_number_is_divided_as_the_mean() -> None:
    assert strata(np.array([1.5, np.nan, -2.0], np.float32)).tolist() == [1.5, 0.0, -2.0]
    assert is_known(np.array([0, -1, 2])).tolist() == [True, False, True]


def test_labels_are_encoded_by_their_target_and_holes_stay(both: Prepared) -> None:
    values = pd.Series(["yes", None, "no"], name="label")
    assert encoded(both.targets[0], values).tolist() == [1, -1, 0]
    amounts = encoded(both.targets[1], pd.Series([both.targets[1].mean, np.nan]))
    assert amounts[0] == pytest.approx(0.0)
    assert math.isnan(amounts[1])


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [("label", None, "'label' holds no label at all"), ("label", "yes", "'label' has one class only"),
     ("amount", np.nan, "'amount' holds no label at all"), ("amount", 2.5, "'amount' holds one amount only")],
)  # fmt: skip
def test_a_target_that_cannot_be_learned_is_named(
    column: str, value: object, says: str, frame: pd.DataFrame, make_both: Make
) -> None:
    task = {"amount": "regression", "label": "classification"}
    with pytest.raises(DataError, match=says):
        make_both(frame.drop(columns=column).join(pd.Series([value] * len(frame), name=column)), task=task)


def test_labels_that_do_not_reach_the_test_part_are_refused(frame: pd.DataFrame, make_both: Make) -> None:
    test = make_both(frame).parts.test
    holes = frame.copy()
    holes.loc[test, "amount"] = np.nan
    with pytest.raises(DataError, match="'amount': none of its 72 labels is in the test part"):
        make_both(holes)


def test_numbers_of_two_targets_keep_their_rows_and_columns() -> None:
    heads, plan = [Head.of("a", None), Head.of("b", None)], ColumnPlan((0,), ("numeric",))
    labels = [np.array([1.0, 2, 3, 4]), np.array([5.0, 6, 7, 8])]
    problem = Problem.of(np.zeros((4, 1)), labels, heads, plan=plan, design=Design())
    assert problem.rows.targets.tolist() == [[1, 5], [2, 6], [3, 7], [4, 8]]
