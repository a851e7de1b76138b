"""SWAG's moments against NumPy over stored snapshots, its samples against the covariance of the paper."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from poise import ArgumentError, PoiseWarning, Recipe, Swa, Swag
from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.testing import check_regularizer


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Swag(0, deviations=2, samples=3)).count >= 14


def collected(part: Swag, points: np.ndarray) -> dict[str, torch.Tensor]:
    """The part's memory after a walk over the points (steps, d)."""
    weights = [{"w": torch.tensor(point)} for point in points]
    memory = part.remember(weights[0])
    for step, params in enumerate(weights):
        _, memory = part.average(params, memory, Context(step, Rng(key(0)), params=params))
    return memory


def walk(steps: int = 40, size: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(steps, size)).cumsum(0) + 5.0


@pytest.mark.parametrize(("start", "every"), [(0, 1), (4, 3), (39, 1)])
def test_mean_and_variance_are_numpys_over_the_snapshots(start: int, every: int) -> None:
    points, memory = walk(), collected(Swag(start, every, deviations=0), walk())
    assert memory["mean/w"].numpy() == pytest.approx(points[start::every].mean(0), rel=1e-12)
    assert memory["variance/w"].numpy() == pytest.approx(points[start::every].var(0), rel=1e-11, abs=1e-15)


def test_the_variance_of_large_weights_survives_in_float32() -> None:
    points = (1000 + 0.01 * np.random.default_rng(0).normal(size=(200, 3))).astype(np.float32)
    found = collected(Swag(0, deviations=0), points)["variance/w"].numpy()
    squares = (points**2).mean(0, dtype=np.float32) - points.mean(0, dtype=np.float32) ** 2
    true = points.astype(np.float64).var(0)
    assert found == pytest.approx(true, rel=1e-2)
    assert not np.allclose(squares, true, rtol=0.5)  # as E w^2 - (E w)^2 it would be lost


@pytest.mark.parametrize("count", [3, 7, 100])
def test_deviations_are_the_last_ones_from_the_mean_so_far(count: int) -> None:
    points, memory = walk(), collected(Swag(2, 2, deviations=count), walk())
    snapshots = points[2::2]
    rows = [w - snapshots[: i + 1].mean(0) for i, w in enumerate(snapshots)][-count:]
    found = sorted(memory["deviation/w"][: len(snapshots)].numpy()[:count].tolist())
    assert np.array(found) == pytest.approx(np.array(sorted(np.array(rows).tolist())), abs=1e-12)


def samples(part: Swag, memory: dict[str, torch.Tensor], snapshots: int, count: int) -> np.ndarray:
    return np.array([part.draw(memory, snapshots, Rng(key(0), str(i)))["w"].numpy() for i in range(count)])


def papers_covariance(points: np.ndarray, columns: int) -> np.ndarray:
    """Equation 1: half the diagonal's variance, and D D' / (2 (K - 1))."""
    rows = np.array([w - points[: i + 1].mean(0) for i, w in enumerate(points)])[-columns:]
    return np.diag(points.var(0)) / 2 + rows.T @ rows / (2 * (columns - 1))


def far(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.abs(found - true).max() / np.abs(true).max())


def test_samples_have_the_papers_mean_and_covariance() -> None:
    points, part = walk(), Swag(0, deviations=5)
    drawn = samples(part, collected(part, points), len(points), 3000)
    true = papers_covariance(points, 5)
    assert np.abs(drawn.mean(0) - points.mean(0)).max() < 4 * np.sqrt(true.max() / 3000)
    assert far(np.cov(drawn.T), true) < 0.1


def test_a_sampler_without_the_papers_factors_is_caught() -> None:
    points, part = walk(), Swag(0, deviations=5, scale=1.0)
    drawn = samples(part, collected(part, points), len(points), 3000)
    assert far(np.cov(drawn.T), papers_covariance(points, 5)) > 0.5  # without the halves
    own = drawn.copy()
    for column in range(1, 3):  # low-rank noise drawn anew for each weight
        own[:, column] = np.random.default_rng(column).permutation(own[:, column])
    assert far(np.cov(own.T), 2 * papers_covariance(points, 5)) > 0.2


def test_all_tensors_of_the_network_share_the_low_rank_noise() -> None:
    part = Swag(0, deviations=4)
    weights = [{"a": torch.tensor([w]), "b": torch.tensor([-2 * w])} for w in walk(4, 1)[:, 0]]
    memory = part.remember(weights[0])
    for step, params in enumerate(weights):
        _, memory = part.average(params, memory, Context(step, Rng(key(0)), params=params))
    memory = memory | {name: 0 * tensor for name, tensor in memory.items() if name.startswith("variance")}
    one = part.draw(memory, 4, Rng(key(0)))
    assert float(one["b"] + 2 * one["a"]) == pytest.approx(0, abs=1e-12)
    assert float(one["a"]) != pytest.approx(float(memory["mean/a"]))


def test_a_scale_of_zero_predicts_with_stochastic_weight_averaging(trained: Callable, rows: tuple) -> None:
    run, _ = trained(Recipe(Swag(3, 2, samples=2, scale=0.0), Swa(3, 2)), 12, norm=True)
    predictor = run.predictor(rows[0].split(32))
    for member in predictor.predictors:
        torch.testing.assert_close(member[0].weight.data, run.averaged["0.weight"], rtol=1e-12, atol=1e-14)
        hidden = torch.nn.functional.linear(rows[0], member[0].weight, member[0].bias)
        torch.testing.assert_close(member[1].running_mean, hidden.mean(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(member[1].running_var, hidden.var(0), rtol=1e-12, atol=1e-12)


def test_the_predictor_is_the_mean_over_keyed_samples(trained: Callable, rows: tuple) -> None:
    run, _ = trained(Recipe(Swag(3, samples=4, deviations=3)), 12)
    predictor, again = run.predictor(), run.predictor()
    outputs = torch.stack([torch.softmax(member(rows[0]), 1) for member in predictor.predictors])
    assert len({float(member[0].weight.sum()) for member in predictor.predictors}) == 4
    torch.testing.assert_close(predictor(rows[0]).exp(), outputs.mean(0), rtol=1e-12, atol=1e-14)
    assert torch.equal(predictor(rows[0]), again(rows[0]))


def test_a_network_in_half_precision_gets_samples_in_it() -> None:
    part = Swag(0, samples=2)
    memory = {name: t.float() for name, t in collected(part, walk().astype(np.float32)).items()}
    network = torch.nn.Module()
    network.register_parameter("w", torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16)))
    predictor = part.predict(network, Context(40, Rng(key(0)), memory=memory))
    assert predictor.predictors[0].w.dtype == torch.bfloat16


def test_without_a_snapshot_the_predictor_is_the_network(trained: Callable) -> None:
    run, path = trained(Recipe(Swag(50)), 4)
    with pytest.warns(PoiseWarning, match="swag takes its first copy after 51 steps"):
        predictor = run.predictor()
    assert torch.equal(predictor[0].weight, path[-1]["0.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": -1}, "`Swag.start` must be an int >= 0; got -1"),
        ({"start": 0, "every": 0}, "`Swag.every` must be an int >= 1; got 0"),
        ({"start": 0, "deviations": -1}, "`Swag.deviations` must be an int >= 0; got -1"),
        ({"start": 0, "samples": True}, "`Swag.samples` must be an int >= 1; got True"),
        ({"start": 0, "scale": float("nan")}, "`Swag.scale` must be a finite number >= 0; got nan"),
        ({"start": 0, "space": ""}, "`Swag.space` must be"),
    ],
)
def test_settings_that_sample_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Swag(**settings)
