"""The exact minimum of linear models: closed forms, scikit-learn, numpy, and the library's own training."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet, Lasso, Ridge
from torch import Tensor, nn

import poise
from poise.core.regularizer import Regularizer
from poise.lab.linear import Quadratic, minimum, stopped
from poise.lab.samples import NEW, columns, legendre, wave


def designed(x: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(x[:, :1]), x], 1)


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Quadratic]:
    x, y = columns(40, 2.0, seed)
    return x, y, Quadratic.of(designed(x), y)


def polynomial(degree: int, seed: int = 0) -> tuple[Tensor, Tensor, Quadratic]:
    x, y = wave(16, 0.3, seed)
    features = legendre(x, degree)
    return features, y, Quadratic.of(designed(features), y)


def trained(x: Tensor, y: Tensor, *parts: Regularizer, steps: int, rate: float) -> Tensor:
    """Weights, bias first, of a layer that the library trains."""
    model = nn.Linear(x.shape[1], 1, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    run = poise.Recipe(*parts).start(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for _ in range(steps):
        run.objective(torch.square(model(x)[:, 0] - y).mean()).backward()
        run.update(optimizer)
    return torch.cat([model.bias, model.weight[0]]).detach()


@pytest.mark.parametrize("strength", [1e-3, 0.3, 20.0])
def test_l2_is_ridge(strength: float) -> None:
    x, y, data = problem()
    oracle = Ridge(alpha=len(x) * strength / 2).fit(x, y)  # |error|^2 + alpha |w|^2
    found = minimum(data, l2=strength)
    np.testing.assert_allclose(found[1:], oracle.coef_, rtol=1e-9)
    assert float(found[0]) == pytest.approx(oracle.intercept_, rel=1e-9)


@pytest.mark.parametrize("strength", [0.02, 0.5, 3.0])
def test_l1_is_the_lasso_with_its_zeros(strength: float) -> None:
    x, y, data = problem()
    oracle = Lasso(alpha=strength / 2, tol=1e-12, max_iter=100_000).fit(x, y)
    found = minimum(data, l1=strength)
    np.testing.assert_allclose(found[1:], oracle.coef_, atol=1e-6)
    assert ((found[1:] == 0).numpy() == (oracle.coef_ == 0)).all()


def test_both_are_the_elastic_net() -> None:
    x, y, data = problem()
    oracle = ElasticNet(alpha=1.3 / 2, l1_ratio=0.8 / 1.3, tol=1e-12, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(minimum(data, l2=0.5, l1=0.8)[1:], oracle.coef_, atol=1e-6)


def test_neither_is_numpys_polynomial() -> None:
    x, y = wave(16, 0.3, 0)
    grid = torch.linspace(-1, 1, 9, dtype=torch.float64)
    oracle = np.polynomial.Polynomial.fit(x.numpy(), y.numpy(), 9)(grid.numpy())
    found = minimum(polynomial(9)[2])
    np.testing.assert_allclose(designed(legendre(grid, 9)) @ found, oracle, rtol=1e-6)


def test_with_more_weights_than_points_the_shortest_is_found() -> None:
    x, y = wave(8, 0.3, 0)
    features = designed(legendre(x, 12))
    oracle = torch.linalg.lstsq(features, y[:, None], driver="gelsd").solution[:, 0]
    np.testing.assert_allclose(minimum(Quadratic.of(features, y)), oracle, atol=1e-6)


@pytest.mark.parametrize("parts", [(poise.L2(1.0),), (poise.L1(1.0),), (poise.L2(0.5), poise.L1(0.8))])
def test_the_librarys_training_arrives_at_the_minimum(parts: tuple[Regularizer, ...]) -> None:
    x, y, data = problem()
    strengths = {part.name: float(part.dials()["weight"]) for part in parts}
    found = minimum(data, strengths.get("l2", 0.0), strengths.get("l1", 0.0))
    after = trained(x, y, *parts, steps=700, rate=0.02)
    assert torch.allclose(after, found, atol=1e-6)
    assert torch.equal(after == 0, found == 0)


def test_training_arrives_there_for_polynomials_too() -> None:
    x, y, data = polynomial(6)
    after = trained(x, y, poise.L2(0.01), poise.L1(0.02), steps=1200, rate=0.08)
    assert torch.allclose(after, minimum(data, 0.01, 0.02), atol=1e-6)


def test_the_librarys_elastic_net_has_the_same_minimum() -> None:
    x, y, data = problem()
    after = trained(x, y, poise.ElasticNet(1.3, ratio=0.8 / 1.3), steps=700, rate=0.02)
    assert torch.allclose(after, minimum(data, l2=0.5, l1=0.8), atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strengths", [(0.0, 1e-3), (0.0, 0.05), (1e-4, 0.01), (0.1, 1.0)])
def test_no_step_away_from_the_minimum_is_cheaper(seed: int, strengths: tuple[float, float]) -> None:
    """The optimality conditions: the error pulls each weight by l1 exactly, and one at 0 by no more than that."""
    l2, l1 = strengths
    _, _, data = polynomial(12, seed)
    found = minimum(data, l2, l1)
    pull = data.slope - data.curvature @ found
    pull[1:] -= l2 * found[1:]
    assert abs(float(pull[0])) < 1e-8
    free = found[1:] != 0
    assert torch.allclose(pull[1:][free], l1 * torch.sign(found[1:][free]), atol=1e-7)
    assert float(pull[1:].abs().max()) <= l1 * (1 + 1e-6)


def test_many_strengths_at_once_are_each_alone() -> None:
    _, _, data = problem()
    strengths = torch.tensor([0.0, 0.1, 1.0, 8.0], dtype=torch.float64)
    for l2, l1 in ((strengths, 0.0), (0.0, strengths), (strengths, 0.5)):
        every = minimum(data, l2, l1)
        for place, own in enumerate(every):
            alone = [float(s[place]) if isinstance(s, Tensor) else s for s in (l2, l1)]
            assert torch.allclose(own, minimum(data, *alone), atol=1e-9)


def test_counted_rows_are_repeated_rows() -> None:
    x, y, _ = problem()
    counts = torch.tensor([0.0, 2.0] * 20, dtype=torch.float64)
    whole = Quadratic.of(designed(x), y, counts)
    rows = torch.arange(40).repeat_interleave(counts.long())
    alone = Quadratic.of(designed(x[rows]), y[rows])
    assert torch.allclose(whole.curvature, alone.curvature)
    assert torch.allclose(whole.slope, alone.slope)


@pytest.mark.parametrize(("l2", "l1", "patience"), [(0.0, 0.0, 10), (0.0, 0.05, 3), (0.01, 0.02, 1)])
def test_stopped_descent_is_the_librarys_loop_with_patience(l2: float, l1: float, patience: int) -> None:
    x, y, data = polynomial(12)
    new, targets = wave(200, 0.3, NEW)
    features = legendre(new, 12)
    found = stopped(data, designed(features), targets, l2=l2, l1=l1, steps=400, every=5, patience=patience)

    model = nn.Linear(12, 1, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    run = poise.Recipe(poise.L2(l2), poise.L1(l1), poise.Patience(patience)).start(model)
    rate = 0.1 / float(torch.linalg.eigvalsh(data.with_l2(l2).curvature)[-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for step in range(1, 401):
        run.objective(torch.square(model(x)[:, 0] - y).mean()).backward()
        run.update(optimizer)
        if step % 5 == 0:
            with torch.no_grad():
                score = torch.square(model(features)[:, 0] - targets).mean()
            if run.stop(score):
                break
    best = run.predictor()
    assert int(found.stop_step) == step
    assert int(found.best_step) == min(run.history, key=lambda row: row["score"])["step"]
    assert torch.allclose(found.weights, torch.cat([best.bias, best.weight[0]]), atol=1e-10)
