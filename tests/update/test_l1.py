"""L1 against scikit-learn's Lasso: the same zeros, and the lasso's optimality conditions, under SGD and under Adam."""

from functools import cache

import pytest
import torch
from sklearn.linear_model import Lasso

from poise.core.context import Context
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.testing import check_regularizer
from poise.train.losses import SquaredError
from poise.train.optimizers import Adam
from poise.train.population import Population, Rows
from poise.update import L1

ROLES = {"w": Role("weight", inputs=True)}
ALPHAS = [0.01, 0.05, 0.1, 0.3, 1.0]


@cache
def regression() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(80, 25, dtype=torch.float64, generator=generator)
    truth = torch.zeros(25, dtype=torch.float64)
    truth[:5] = torch.tensor([3.0, -2.0, 1.5, -1.0, 0.5])
    return X, X @ truth + 0.5 * torch.randn(80, dtype=torch.float64, generator=generator)


def slope(w: torch.Tensor) -> torch.Tensor:
    """The gradient of half the mean squared error."""
    X, y = regression()
    return (X.T @ (X @ w[0] - y) / len(X))[None]


def context(w: torch.Tensor, scale: torch.Tensor) -> Context:
    return Context(0, Rng(key(0)), params={"w": w}, roles=ROLES, scale={"w": scale})


def train_sgd(part: L1, steps: int = 3000) -> torch.Tensor:
    X, _ = regression()
    lr = len(X) / torch.linalg.matrix_norm(X, 2) ** 2
    w = torch.zeros(1, 25, dtype=torch.float64)
    for _ in range(steps):
        w = w - lr * slope(w)
        w = part.update({"w": w}, {}, context(w, lr.expand_as(w)))[0]["w"]
    return w


def train_adam(part: L1, steps: int = 5000, scalar: bool = False) -> torch.Tensor:
    w = torch.zeros(1, 25, dtype=torch.float64, requires_grad=True)
    # On the support the step tends to lr / alpha, which must stay below 2 / curvature.
    betas, eps, lr = (0.9, 0.99), 1e-8, min(2e-2, part.weight / 2)
    optimizer = torch.optim.Adam([w], lr=lr, betas=betas, eps=eps)
    for step in range(1, steps + 1):
        w.grad = slope(w.detach())
        optimizer.step()
        scale = lr / ((optimizer.state[w]["exp_avg_sq"] / (1 - betas[1] ** step)).sqrt() + eps)
        scale = torch.full_like(scale, lr) if scalar else scale
        with torch.no_grad():
            w.copy_(part.update({"w": w.detach()}, {}, context(w, scale))[0]["w"])
    return w.detach()


def residual(w: torch.Tensor, alpha: float) -> float:
    """How far the lasso's conditions are from true: g = -alpha sign(w) on the support, |g| <= alpha off it."""
    g = slope(w)
    return float(torch.where(w != 0, (g + alpha * w.sign()).abs(), (g.abs() - alpha).clamp(min=0)).max())


def sklearn_lasso(alpha: float) -> torch.Tensor:
    X, y = regression()
    return torch.from_numpy(
        Lasso(alpha, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(X.numpy(), y.numpy()).coef_
    )[None]


def test_it_passes_the_battery() -> None:
    assert check_regularizer(L1(0.3)).count >= 20


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("train", [train_sgd, train_adam])
def test_fixed_point_is_the_lasso(train, alpha: float) -> None:
    w, expected = train(L1(alpha)), sklearn_lasso(alpha)
    assert residual(w, alpha) <= 1e-10
    assert torch.equal(w == 0, expected == 0)
    torch.testing.assert_close(w, expected, rtol=0, atol=1e-9)


def test_scalar_threshold_under_adam_is_caught() -> None:
    w = train_adam(L1(0.3), scalar=True)
    assert residual(w, 0.3) > 1e-3
    assert int((w == 0).sum()) < int((sklearn_lasso(0.3) == 0).sum())


def test_subgradient_is_the_bare_penalty_and_makes_no_zeros() -> None:
    part = L1(0.3, subgradient=True)
    w = torch.tensor([[2.0, -1.0, 0.0]], requires_grad=True)
    terms, _ = part.objective({}, {}, context(w, torch.ones_like(w)))
    assert float(terms["l1"].detach()) == pytest.approx(0.9)
    assert torch.equal(torch.autograd.grad(terms["l1"], w)[0], torch.tensor([[0.3, -0.3, 0.0]]))
    params = {"w": w.detach()}
    assert part.update(params, {}, context(w, torch.ones_like(w)))[0] is params


def test_reported_term_has_no_gradient() -> None:
    w = torch.tensor([[2.0, -1.0]], requires_grad=True)
    terms, _ = L1(0.5).objective({}, {}, context(w, torch.ones_like(w)))
    assert float(terms["l1"]) == 1.5
    assert not terms["l1"].requires_grad


def test_members_thresholds_are_their_own() -> None:
    w = torch.tensor([[1.0, -0.2]], dtype=torch.float64)

    def member(weight: torch.Tensor) -> torch.Tensor:
        return L1().at({"weight": weight}).update({"w": w}, {}, context(w, torch.ones_like(w)))[0]["w"]

    new = torch.vmap(member)(torch.tensor([0.0, 0.5, 2.0]))
    assert torch.equal(new, torch.tensor([[[1.0, -0.2]], [[0.5, 0.0]], [[0.0, 0.0]]], dtype=torch.float64))


def test_float16_sum_is_taken_in_float32() -> None:
    w = torch.full((1, 1000), 100.0, dtype=torch.float16)
    assert float(L1(1.0).objective({}, {}, context(w, torch.ones_like(w)))[0]["l1"]) == 100_000


@pytest.mark.campaign
def test_a_population_under_adam_is_the_lasso_path() -> None:
    X, y = regression()
    alphas = torch.tensor(ALPHAS[1:])
    population = Population(
        lambda: torch.nn.Linear(25, 1, bias=False, dtype=torch.float64),
        Recipe(L1(0.1)),
        SquaredError(),  # no half: its L1 weight is twice alpha
        lr=[5e-3] * len(alphas),
        dials={"l1.weight": 2 * alphas},
        optimizer=Adam(betas=(0.9, 0.99)),
    )
    population.train(Rows(X, y[:, None]), steps=7000, batch_size=len(X))
    for alpha, w in zip(alphas.tolist(), population.weights()["weight"], strict=True):
        assert residual(w, alpha) <= 1e-10
        assert torch.equal(w == 0, sklearn_lasso(alpha) == 0)
