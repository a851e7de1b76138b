"""Elastic net against scikit-learn's, under SGD and Adam, and its proximal operator against a minimiser."""

from functools import cache

import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.linear_model import ElasticNet as Reference

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.testing import check_regularizer
from poise.update import L1, ElasticNet

ROLES = {"w": Role("weight", inputs=True)}


@cache
def regression() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(80, 20, dtype=torch.float64, generator=generator)
    X[:, 1] = X[:, 0] + 0.5 * X[:, 1]  # two inputs that say nearly the same
    truth = torch.zeros(20, dtype=torch.float64)
    truth[:5] = torch.tensor([2.0, 2.0, -1.5, 1.0, 0.5])
    return X, X @ truth + 0.5 * torch.randn(80, dtype=torch.float64, generator=generator)


def slope(w: torch.Tensor) -> torch.Tensor:
    X, y = regression()
    return (X.T @ (X @ w[0] - y) / len(X))[None]


def context(w: torch.Tensor, scale: torch.Tensor) -> Context:
    return Context(0, Rng(key(0)), params={"w": w}, roles=ROLES, scale={"w": scale})


def train_sgd(part: ElasticNet) -> torch.Tensor:
    X, _ = regression()
    lr = len(X) / torch.linalg.matrix_norm(X, 2) ** 2
    w = torch.zeros(1, 20, dtype=torch.float64)
    for _ in range(3000):
        w = w - lr * slope(w)
        w = part.update({"w": w}, {}, context(w, lr.expand_as(w)))[0]["w"]
    return w


def train_adam(part: ElasticNet) -> torch.Tensor:
    w = torch.zeros(1, 20, dtype=torch.float64, requires_grad=True)
    betas, eps, lr = (0.9, 0.99), 1e-8, 1.5e-2
    optimizer = torch.optim.Adam([w], lr=lr, betas=betas, eps=eps)
    for step in range(1, 5001):
        w.grad = slope(w.detach())
        optimizer.step()
        scale = lr / ((optimizer.state[w]["exp_avg_sq"] / (1 - betas[1] ** step)).sqrt() + eps)
        with torch.no_grad():
            w.copy_(part.update({"w": w.detach()}, {}, context(w, scale))[0]["w"])
    return w.detach()


def test_it_passes_the_battery() -> None:
    assert check_regularizer(ElasticNet(0.3, ratio=0.7)).count >= 22


@pytest.mark.parametrize(("weight", "ratio"), [(0.1, 0.5), (0.3, 0.9), (0.3, 1.0), (0.2, 0.2)])
@pytest.mark.parametrize("train", [train_sgd, train_adam])
def test_fixed_point_is_scikit_learns(train, weight: float, ratio: float) -> None:
    X, y = regression()
    w = train(ElasticNet(weight, ratio))
    g = slope(w) + weight * (1 - ratio) * w
    bound = weight * ratio
    off = torch.where(w != 0, (g + bound * w.sign()).abs(), (g.abs() - bound).clamp(min=0))
    assert float(off.max()) <= 1e-10
    reference = Reference(weight, l1_ratio=ratio, fit_intercept=False, tol=1e-14, max_iter=100_000)
    expected = torch.from_numpy(reference.fit(X.numpy(), y.numpy()).coef_)[None]
    assert torch.equal(w == 0, expected == 0)
    torch.testing.assert_close(w, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("w", [-2.0, -0.05, 0.0, 0.3, 4.0])
def test_proximal_operator_minimises_penalty_plus_distance(w: float) -> None:
    def total(z: float) -> float:
        return 0.6 * (0.25 * abs(z) + 0.75 / 2 * z * z) + (z - w) ** 2 / (2 * 0.7)

    part, weight = ElasticNet(0.6, 0.25), torch.tensor([[w]], dtype=torch.float64)
    new = part.proximal("w", weight, torch.tensor(0.7), context(weight, weight))
    assert float(new) == pytest.approx(minimize_scalar(total, bounds=(-5, 5), options={"xatol": 1e-12}).x, abs=1e-6)


def test_ratio_one_is_l1_bit_for_bit() -> None:
    w = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    ctx = context(w, torch.rand(4, 5, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(
        ElasticNet(0.3, 1.0).update({"w": w}, {}, ctx)[0]["w"], L1(0.3).update({"w": w}, {}, ctx)[0]["w"]
    )
    ours, lasso = ElasticNet(0.3, 1.0).objective({}, {}, ctx)[0], L1(0.3).objective({}, {}, ctx)[0]
    assert torch.equal(ours["elastic_net"], lasso["l1"])


def test_reported_term_is_both_norms() -> None:
    w = torch.tensor([[3.0, -4.0]])
    terms, _ = ElasticNet(2.0, 0.25).objective({}, {}, context(w, w))
    assert float(terms["elastic_net"]) == pytest.approx(2 * (0.25 * 7 + 0.75 / 2 * 25))


def test_bfloat16_weights_are_shrunk_as_float64_ones_and_rounded_once() -> None:
    part, step = ElasticNet(0.5, ratio=0.25), torch.tensor(2.0**-7)  # the divisor is 1.003
    w = torch.randn(50, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = part.proximal("w", w.double(), step.double(), context(w, step))
    assert torch.equal(part.proximal("w", w, step.bfloat16(), context(w, step)), exact.bfloat16())
