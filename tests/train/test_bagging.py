"""Bagged networks: their rows, the textbook's identity on real members, and the out-of-bag score by a hand loop."""

import math
from typing import Any

import pytest
import torch
from sklearn.datasets import load_diabetes
from torch import nn

from poise import ArgumentError, Dropout, DropoutAtTest, Ema, PoiseWarning, Recipe, SnapshotEnsemble
from poise.train.bagging import Bagged, bagged, bootstrap_rows
from poise.train.failure import TrainingError
from poise.train.losses import CrossEntropy, SquaredError
from poise.train.population import Rows


def table() -> Rows:
    x, y = (torch.from_numpy(array).float() for array in load_diabetes(return_X_y=True, scaled=True))
    return Rows(x / x.std(0), ((y - y.mean()) / y.std())[:, None])


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))


def regressors(data: Rows, recipe: Recipe | None = None, **settings: Any) -> Bagged:
    settings = {"steps": 60, "lr": 0.02, "members": 5, "space": "output"} | settings
    return bagged(network, recipe or Recipe(), data, SquaredError(), **settings)


def classes() -> tuple[Rows, Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 2, generator=generator)
    targets = nn.functional.one_hot((x.sum(1) > 0).long(), 2).float()
    return Rows(x, targets), lambda: nn.Linear(2, 2)


def test_rows_are_drawn_with_replacement_and_by_member() -> None:
    drawn = bootstrap_rows(range(400), 100, seed=1)
    assert (int(drawn.min()), int(drawn.max())) == (0, 99)
    counts = torch.stack([torch.bincount(own, minlength=100) for own in drawn]).double()
    # Each count is binomial (100, 1 / 100): mean 1, variance 0.99, absent with probability 0.99^100.
    assert float(counts.var()) == pytest.approx(0.99, rel=0.03)
    assert float((counts == 0).double().mean()) == pytest.approx(0.99**100, rel=0.02)
    assert float((counts.mean(0) - 1).abs().max()) < 5 * math.sqrt(0.99 / 400)
    assert torch.equal(bootstrap_rows([7, 3], 100, seed=1), drawn[[7, 3]])
    assert not torch.equal(bootstrap_rows([7], 100, seed=2), drawn[[7]])


def test_a_sampler_without_replacement_is_caught() -> None:
    counts = torch.stack([torch.bincount(torch.randperm(100), minlength=100) for _ in range(20)]).double()
    assert float(counts.var()) == 0


@pytest.mark.usefixtures("seeded")
def test_the_means_error_is_the_textbooks() -> None:
    data = table()
    train, rest = data.select(torch.arange(300)), data.select(torch.arange(300, 442))
    ensemble = regressors(train, steps=150).ensemble
    with torch.no_grad():
        errors = (ensemble.answers(rest.inputs) - rest.targets)[..., 0].double()
        found = float((ensemble(rest.inputs) - rest.targets).double().square().mean())
    k = len(errors)
    products = errors @ errors.T / errors.shape[1]
    v = float(products.diag().mean())
    c = float((products.sum() - products.diag().sum()) / (k * (k - 1)))
    assert found == pytest.approx(v / k + (k - 1) / k * c, rel=1e-5)
    assert found < v  # the mean beats its members
    assert c > 0.2 * v  # whose errors are far from independent, on real data


@pytest.mark.usefixtures("seeded")
def test_the_out_of_bag_score_is_the_hand_loops() -> None:
    data = table().select(torch.arange(80))
    found = regressors(data)
    with torch.no_grad():
        answers = found.ensemble.answers(data.inputs)
    squares = []
    for row in range(80):
        free = [answers[m, row] for m in range(5) if row not in found.rows[m].tolist()]
        assert bool(found.covered[row]) == bool(free)
        if free:
            mean = torch.stack(free).mean(0)
            torch.testing.assert_close(found.outputs[row], mean, rtol=1e-5, atol=1e-6)
            squares.append(float((mean - data.targets[row]) ** 2))
    assert found.score == pytest.approx(sum(squares) / len(squares), rel=1e-5)
    own = [row for row in range(80) if row not in found.rows[2].tolist()]
    assert float(found.member_scores[2]) == pytest.approx(
        float((answers[2, own] - data.targets[own]).square().mean()), rel=1e-5
    )


@pytest.mark.usefixtures("seeded")
def test_the_out_of_bag_score_is_near_the_error_on_new_rows_and_the_training_error_is_not() -> None:
    data = table()
    train, rest = data.select(torch.arange(220)), data.select(torch.arange(220, 442))
    found = regressors(train, steps=400, members=10)
    with torch.no_grad():
        new, old = (float((found.ensemble(part.inputs) - part.targets).square().mean()) for part in (rest, train))
    assert abs(found.score - new) < 0.5 * abs(old - new)


@pytest.mark.usefixtures("seeded")
def test_classes_are_averaged_as_probabilities() -> None:
    data, build = classes()
    found = bagged(build, Recipe(), data, CrossEntropy(), steps=100, lr=0.1, members=4)
    with torch.no_grad():
        mean = torch.softmax(found.ensemble.answers(data.inputs), -1).mean(0)
        torch.testing.assert_close(found.ensemble(data.inputs).exp(), mean)
    assert found.score < math.log(2)
    assert torch.isfinite(found.outputs[found.covered]).all()


@pytest.mark.usefixtures("seeded")
def test_members_go_through_the_recipes_predict_stage_with_their_own_memory() -> None:
    data, build = classes()
    recipe = Recipe(SnapshotEnsemble(cycles=3, steps=10))
    found = bagged(build, recipe, data, CrossEntropy(), steps=30, lr=0.1, members=2)
    sizes = [len(member.predictors) for member in found.ensemble.predictors]
    assert sizes == [3, 3]
    first, second = (member.predictors[-1].weight for member in found.ensemble.predictors)
    assert not torch.equal(first, second)


@pytest.mark.usefixtures("seeded")
def test_members_drop_at_test_if_the_recipe_says_so() -> None:
    recipe = Recipe(Dropout(0.5), DropoutAtTest(3, space="output"))
    found = regressors(table().select(torch.arange(60)), recipe, members=2)
    assert [member.samples for member in found.ensemble.predictors] == [3, 3]


@pytest.mark.usefixtures("seeded")
def test_averaged_weights_predict() -> None:
    found = regressors(table().select(torch.arange(60)), Recipe(Ema(1.0, warmup=False)), members=2)
    fresh = regressors(table().select(torch.arange(60)), Recipe(), members=2, steps=0)
    for one, other in zip(found.ensemble.parameters(), fresh.ensemble.parameters(), strict=True):
        assert torch.equal(one, other)  # an average that stays at the start


def test_members_that_diverge_are_left_out_with_a_warning() -> None:
    data = Rows(torch.cat([torch.ones(1, 2) * 1e38, torch.ones(20, 2)]), torch.zeros(21, 1))

    def build() -> nn.Module:
        return nn.Linear(2, 1)

    with pytest.warns(PoiseWarning, match=r"of 6 members of `bagged` diverged"):
        found = bagged(build, Recipe(), data, SquaredError(), steps=3, lr=0.1, members=6, batch_size=21, space="output")
    assert 0 < len(found.ensemble.predictors) < 6
    assert found.rows.shape == (len(found.ensemble.predictors), 21)
    assert not (found.rows == 0).any()  # the ones that never saw the row that no loss is finite on
    with pytest.raises(TrainingError, match="every member"):
        bagged(build, Recipe(), data.select(torch.zeros(5, dtype=torch.int64)), SquaredError(), steps=2, lr=1.0)


@pytest.mark.parametrize("members", [0, -1, 2.0, True])
def test_members_must_be_a_count(members: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`bagged.members` must be an int >= 1"):
        regressors(table(), members=members)


def test_a_single_row_leaves_none_to_score() -> None:
    with pytest.raises(ArgumentError, match="must leave a row out"):
        regressors(table().select(torch.arange(1)), members=1)
