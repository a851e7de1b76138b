"""What the textbook proves of its regularizers holds for ours: Goodfellow, Bengio and Courville 2016, chapter 7."""

import math

import pytest
import torch
from scipy import stats

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.objective import L2
from poise.predict import Ensemble
from poise.stop import Budget
from poise.update import L1

ROLES = {"w": Role("weight")}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def descend(
    H: torch.Tensor, goal: torch.Tensor, lr: float, steps: int, l2: L2 | None = None, l1: L1 | None = None, budget=None
) -> torch.Tensor:
    """Gradient descent from 0 on (w - goal)' H (w - goal) / 2, with the parts' own stages."""
    w = torch.zeros(1, len(goal), dtype=torch.float64)
    for step in range(steps):
        ctx = Context(step, Rng(key(0)), lr=lr, params={"w": w}, roles=ROLES, scale={"w": torch.full_like(w, lr)})
        if budget is not None and bool(budget.stop(torch.tensor(False), {}, ctx)[0]):
            break
        leaf = w.clone().requires_grad_()
        ctx = Context(step, ctx.rng, lr=lr, params={"w": leaf}, roles=ROLES, scale=ctx.scale)
        off = leaf[0] - goal
        terms = {"data": off @ H @ off / 2}
        for part in (l2, l1):
            if part is not None:
                terms, _ = part.objective(terms, {}, ctx)
        (grad,) = torch.autograd.grad(sum(terms.values()), leaf)
        w = w - lr * grad
        if l1 is not None:
            w = l1.update({"w": w}, {}, ctx)[0]["w"]
    return w[0]


# --- 7.1.1: L2 shrinks each eigen-direction of the Hessian by h / (h + a) -------------------------------------------


def curvature(eigenvalues: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix with these eigenvalues, and its eigenvectors as columns."""
    Q = torch.linalg.qr(draw(len(eigenvalues), len(eigenvalues)))[0]
    return Q @ torch.diag(eigenvalues) @ Q.T, Q


@pytest.mark.parametrize("a", [0.05, 0.7, 5.0])
def test_l2_shrinks_each_direction_by_its_curvature(a: float) -> None:
    h = torch.tensor([0.05, 0.3, 1.0, 4.0], dtype=torch.float64)
    H, Q = curvature(h)
    goal = draw(4, seed=1)
    found = descend(H, goal, lr=1 / (4 + a), steps=int(40 * (4 + a) / (0.05 + a)), l2=L2(a))
    torch.testing.assert_close(Q.T @ found, h / (h + a) * (Q.T @ goal), rtol=1e-12, atol=1e-12)


def test_the_same_weight_without_the_half_would_be_caught() -> None:
    h, a = torch.tensor([0.3, 1.0], dtype=torch.float64), 0.5
    H, Q = curvature(h)
    goal = draw(2, seed=1)
    found = descend(H, goal, lr=0.5, steps=300, l2=L2(2 * a))
    assert not torch.allclose(Q.T @ found, h / (h + a) * (Q.T @ goal), rtol=1e-3)


# --- 7.1.2: L1 soft-thresholds each coordinate of a diagonal quadratic by a / h -------------------------------------


@pytest.mark.parametrize("a", [0.05, 0.5, 3.0])
def test_l1_thresholds_each_coordinate_by_weight_over_curvature(a: float) -> None:
    h = torch.tensor([0.2, 0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    goal = torch.tensor([1.0, -2.0, 0.4, -0.3, 0.8], dtype=torch.float64)
    found = descend(torch.diag(h), goal, lr=0.25, steps=800, l1=L1(a))
    expected = goal.sign() * (goal.abs() - a / h).clamp(min=0)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(found == 0, expected == 0)


# --- 7.8: early stopping acts like L2 --------------------------------------------------------------------------------
# From w = 0, t steps of size e leave (1 - (1 - e h)^t) w* in a direction of curvature h; L2 leaves h / (h + a) w*.
# They agree exactly where (1 - e h)^t = a / (h + a), so a = h q / (1 - q) with q = (1 - e h)^t. This a differs from
# direction to direction, but where e h and t e h are small it is 1 / (t e) in all of them: a = 1/(t e) - h/2 + ...


@pytest.mark.parametrize("h", [0.01, 0.3, 1.5])
@pytest.mark.parametrize(("e", "t"), [(0.1, 7), (0.4, 3), (0.02, 60)])
def test_stopping_after_t_steps_is_l2_of_the_stated_weight(e: float, t: int, h: float) -> None:
    H, goal = torch.tensor([[h]], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    stopped = descend(H, goal, lr=e, steps=10_000, budget=Budget(t))
    q = (1 - e * h) ** t
    a = h * q / (1 - q)
    assert q == pytest.approx(a / (h + a), rel=1e-12)
    penalized = descend(H, goal, lr=1 / (h + a), steps=50, l2=L2(a))  # one step of this size is Newton's
    torch.testing.assert_close(stopped, penalized, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("h", [0.001, 0.01, 0.05])
def test_that_weight_is_one_over_t_e_where_the_curvature_is_small(h: float) -> None:
    e, t = 0.05, 40
    q = (1 - e * h) ** t
    a = h * q / (1 - q)
    assert a == pytest.approx(1 / (t * e) - h / 2, rel=t * e * h * (h + e))
    assert abs(a * t * e - 1) <= t * e * h


# --- 7.11: k members with variance v and covariance c leave v/k + (k-1)c/k -------------------------------------------


def p_value(errors: torch.Tensor, variance: float) -> float:
    """Two-sided: how likely so large or small a sum of squares is, if errors are normal with this variance."""
    n = errors.numel()
    tail = stats.chi2(n).cdf(float(errors.square().sum()) / variance)
    return 2 * min(tail, 1 - tail)


def member_errors(members: int, variance: float, covariance: float, count: int = 1_000_000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    shared = torch.randn(count, 1, generator=generator, dtype=torch.float64)
    own = torch.randn(members, count, 1, generator=generator, dtype=torch.float64)
    return math.sqrt(covariance) * shared + math.sqrt(variance - covariance) * own


@pytest.mark.parametrize(("k", "v", "c"), [(1, 2.0, 0.5), (5, 1.0, 0.0), (5, 1.0, 0.3), (3, 1.0, 1.0)])
def test_an_ensembles_squared_error_is_the_textbooks(k: int, v: float, c: float) -> None:
    errors = member_errors(k, v, c)
    ensemble = Ensemble(tuple(lambda _, error=error: error for error in errors), space="output")
    found = ensemble(None)
    assert p_value(found, v / k + (k - 1) * c / k) > 1e-6


def test_wrong_formulas_for_an_ensemble_are_caught() -> None:
    k, v, c = 5, 1.0, 0.3
    found = Ensemble(tuple(lambda _, error=error: error for error in member_errors(k, v, c)), space="output")(None)
    for wrong in (v / k + c, v / k, (v + (k - 1) * c) / k * 1.01):
        assert p_value(found, wrong) < 1e-6
