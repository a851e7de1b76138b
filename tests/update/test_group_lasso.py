"""Group lasso: its proximal operator in the optimizer's metric, and the optimality conditions after training."""

from functools import cache

import pytest
import torch
from sklearn.linear_model import MultiTaskLasso

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.testing import check_regularizer
from poise.update import L1, GroupLasso
from poise.update.group_lasso import block_threshold

GROUPS = (0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def spread(*shape: int, orders: float, seed: int = 1) -> torch.Tensor:
    """Effective steps that differ by so many orders of magnitude, as Adam's do."""
    return 10 ** (-orders * torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def residual(g: torch.Tensor, w: torch.Tensor, limit: dict[int, float], groups: torch.Tensor) -> float:
    """How far the conditions are from true, block by block: g = -t w / |w| on the support, |g| <= t off it."""
    worst = 0.0
    for group, t in limit.items():
        gradient, block = g[:, groups == group], w[:, groups == group]
        if bool((block != 0).any()):
            off = float((gradient + t * block / block.norm()).norm())
        else:
            off = max(0.0, float(gradient.norm()) - t)
        worst = max(worst, off)
    return worst


def limits(strength: float, rows: int, groups: torch.Tensor) -> dict[int, float]:
    return {int(g): strength * (rows * int((groups == g).sum())) ** 0.5 for g in groups.unique()}


def test_it_passes_the_battery() -> None:
    assert check_regularizer(GroupLasso(0.3)).count >= 20


# --- the proximal operator -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orders", [0, 1, 3, 8])
@pytest.mark.parametrize("strength", [1e-3, 0.1, 1.0])
def test_proximal_operator_satisfies_its_optimality_conditions(strength: float, orders: float) -> None:
    groups = torch.tensor(GROUPS)
    w, scale = draw(4, 12), spread(4, 12, orders=orders)
    new = block_threshold(w, scale, torch.tensor(strength, dtype=torch.float64), groups)
    # In units of w, because (z - w) / s divides rounding errors by a tiny step.
    for group, t in limits(strength, 4, groups).items():
        own = groups == group
        z, v, s = new[:, own], w[:, own], scale[:, own]
        if bool((z != 0).any()):
            torch.testing.assert_close(z + s * t * z / z.norm(), v, rtol=1e-12, atol=1e-13)
        else:
            assert float((v / s).norm()) <= t


@pytest.mark.parametrize("groups", [None, torch.tensor(GROUPS)])
def test_constant_scale_gives_the_closed_form(groups: torch.Tensor | None) -> None:
    w, lr, strength = draw(4, 12), 0.3, 0.8
    new = block_threshold(w, torch.full_like(w, lr), torch.tensor(strength, dtype=torch.float64), groups)
    numbers = torch.arange(12) if groups is None else groups
    for group, t in limits(strength, 4, numbers).items():
        block = w[:, numbers == group]
        closed = block * (1 - lr * t / block.norm()).clamp(min=0)
        torch.testing.assert_close(new[:, numbers == group], closed, rtol=1e-12, atol=1e-15)


def test_strength_zero_is_the_identity_bit_for_bit() -> None:
    w = draw(4, 12).float() * 10 ** spread(4, 12, orders=30).log10().float()
    assert torch.equal(block_threshold(w, spread(4, 12, orders=8).float(), torch.tensor(0.0)), w)


def test_learning_rate_zero_moves_nothing() -> None:
    w = draw(4, 12)
    w[:, 3] = 0
    w[0, 4] = 0
    assert torch.equal(block_threshold(w, torch.zeros_like(w), torch.tensor(0.5, dtype=torch.float64)), w)


def test_large_strength_gives_exact_zeros() -> None:
    new = block_threshold(draw(4, 12), spread(4, 12, orders=3), torch.tensor(1e6, dtype=torch.float64))
    assert torch.equal(new, torch.zeros_like(new))


def test_it_is_non_expansive_in_the_optimizers_metric() -> None:
    scale, strength = spread(6, 12, orders=2), torch.tensor(0.4, dtype=torch.float64)
    for seed in range(20):
        a, b = draw(6, 12, seed=seed), draw(6, 12, seed=seed + 100)
        gap = block_threshold(a, scale, strength) - block_threshold(b, scale, strength)
        assert float((gap * gap / scale).sum()) <= float((gap * (a - b) / scale).sum()) + 1e-10


def test_float32_agrees_with_float64() -> None:
    w, scale = draw(20, 12), spread(20, 12, orders=8)
    new = block_threshold(w, scale, torch.tensor(0.2, dtype=torch.float64))
    narrow = block_threshold(w.float(), scale.float(), torch.tensor(0.2))
    torch.testing.assert_close(narrow.double(), new, rtol=3e-6, atol=1e-6)


def test_nan_stays_nan_so_that_divergence_is_seen() -> None:
    w = draw(2, 3)
    w[0, 1] = float("nan")
    new = block_threshold(w, torch.ones_like(w), torch.tensor(0.1, dtype=torch.float64))
    assert new.isnan().any(0).tolist() == [False, True, False]


# --- which columns are together --------------------------------------------------------------------------------------


def context(w: torch.Tensor, scale: torch.Tensor, role: Role, columns: torch.Tensor | None = None) -> Context:
    return Context(0, Rng(key(0)), params={"w": w}, roles={"w": role}, scale={"w": scale}, columns=columns)


def apply(part: GroupLasso, w: torch.Tensor, role: Role, columns: torch.Tensor | None = None) -> torch.Tensor:
    return part.update({"w": w}, {}, context(w, torch.full_like(w, 0.5), role, columns))[0]["w"]


def test_groups_come_from_the_role_then_from_the_context_then_are_single_columns() -> None:
    w, part = draw(4, 12), GroupLasso(0.7)
    scale, strength = torch.full_like(w, 0.5), torch.tensor(0.7, dtype=torch.float64)
    together, alone = block_threshold(w, scale, strength, torch.tensor(GROUPS)), block_threshold(w, scale, strength)
    other = torch.arange(12)
    assert torch.equal(apply(part, w, Role("weight", True, GROUPS), other), together)
    assert torch.equal(apply(part, w, Role("weight", True), torch.tensor(GROUPS)), together)
    assert torch.equal(apply(part, w, Role("weight", True), torch.tensor(GROUPS[:5])), alone)
    assert torch.equal(apply(part, w, Role("weight", True)), alone)


def test_a_hidden_layer_as_wide_as_the_input_does_not_take_the_inputs_groups() -> None:
    w, part = draw(4, 12), GroupLasso(0.7, where="weights")
    assert torch.equal(apply(part, w, Role("weight"), torch.tensor(GROUPS)), apply(part, w, Role("weight")))


def test_numbers_of_groups_are_names_only() -> None:
    w, part = draw(4, 12), GroupLasso(0.7)
    renamed = tuple(100 - 7 * g for g in GROUPS)
    assert torch.equal(apply(part, w, Role("weight", True, GROUPS)), apply(part, w, Role("weight", True, renamed)))


def test_a_convolutions_group_is_an_input_channel_with_its_kernels() -> None:
    w = draw(5, 3, 2, 2)
    new = apply(GroupLasso(0.4), w, Role("weight", True))
    flat = w.movedim(1, -1).reshape(20, 3)
    expected = flat * (1 - 0.5 * 0.4 * 20**0.5 / flat.norm(dim=0)).clamp(min=0)
    torch.testing.assert_close(new, expected.reshape(5, 2, 2, 3).movedim(-1, 1), rtol=1e-12, atol=1e-15)


def test_a_vector_is_thresholded_number_by_number() -> None:
    w = draw(7)
    ctx = context(w, torch.full_like(w, 0.5), Role("norm"))
    lasso = L1(0.7, where="norms").update({"w": w}, {}, ctx)[0]["w"]
    torch.testing.assert_close(GroupLasso(0.7, where="norms").update({"w": w}, {}, ctx)[0]["w"], lasso)


def test_reported_term_is_the_sum_of_weighted_group_norms() -> None:
    w = draw(4, 12)
    terms, _ = GroupLasso(0.7).objective({}, {}, context(w, w, Role("weight", True, GROUPS)))
    groups = torch.tensor(GROUPS)
    slow = sum(t * float(w[:, groups == g].norm()) for g, t in limits(0.7, 4, groups).items())
    assert float(terms["group_lasso"]) == pytest.approx(slow, rel=1e-13)


def test_members_strengths_are_their_own_with_groups() -> None:
    w = draw(4, 12)

    def member(weight: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return apply(GroupLasso().at({"weight": weight}), w, Role("weight", True), torch.tensor(GROUPS))

    strengths = torch.tensor([0.0, 0.5, 100.0], dtype=torch.float64)
    new = torch.vmap(member)(strengths, w.expand(3, 4, 12))
    for index, strength in enumerate(strengths):
        torch.testing.assert_close(new[index], member(strength, w), rtol=1e-13, atol=1e-15)
    assert torch.equal(new[0], w)
    assert int((new[2] != 0).sum()) == 0


# --- training to the optimum -----------------------------------------------------------------------------------------


@cache
def regression() -> tuple[torch.Tensor, torch.Tensor]:
    X, noise = draw(150, 12, seed=5), draw(150, 3, seed=6)
    truth = torch.zeros(3, 12, dtype=torch.float64)
    truth[:, :3], truth[:, 5], truth[:, 9:] = draw(3, 3, seed=7), draw(3, seed=8), draw(3, 3, seed=9)
    return X, X @ truth.T + 0.3 * noise


def slope(w: torch.Tensor) -> torch.Tensor:
    """The gradient of half the mean squared error, summed over three outputs."""
    X, y = regression()
    return (X @ w.T - y).T @ X / len(X)


def train_sgd(part: GroupLasso, role: Role) -> torch.Tensor:
    X, _ = regression()
    lr = len(X) / torch.linalg.matrix_norm(X, 2) ** 2
    w = torch.zeros(3, 12, dtype=torch.float64)
    for _ in range(600):
        w = w - lr * slope(w)
        w = part.update({"w": w}, {}, context(w, lr.expand_as(w), role))[0]["w"]
    return w


def train_adam(part: GroupLasso, role: Role, scalar: bool = False) -> torch.Tensor:
    w = torch.zeros(3, 12, dtype=torch.float64, requires_grad=True)
    betas, eps = (0.9, 0.99), 1e-8
    optimizer = torch.optim.Adam([w], lr=0.0, betas=betas, eps=eps)
    for step in range(1, 3001):
        # Small at the end: a weight whose gradient is nearly 0 has a step lr / |g|, stable only below 2 / curvature.
        lr = 1e-2 if step < 1000 else 1e-3
        optimizer.param_groups[0]["lr"] = lr
        w.grad = slope(w.detach())
        optimizer.step()
        scale = lr / ((optimizer.state[w]["exp_avg_sq"] / (1 - betas[1] ** step)).sqrt() + eps)
        scale = torch.full_like(scale, lr) if scalar else scale
        with torch.no_grad():
            w.copy_(part.update({"w": w.detach()}, {}, context(w, scale, role))[0]["w"])
    return w.detach()


@pytest.mark.parametrize("strength", [0.05, 0.15])
@pytest.mark.parametrize("train", [train_sgd, train_adam])
def test_fixed_point_satisfies_the_conditions_block_by_block(train, strength: float) -> None:
    groups = torch.tensor(GROUPS)
    w = train(GroupLasso(strength), Role("weight", True, GROUPS))
    assert residual(slope(w), w, limits(strength, 3, groups), groups) <= 1e-8
    zero = [g for g in range(6) if not bool((w[:, groups == g] != 0).any())]
    assert zero == ([1, 3, 4] if strength == 0.15 else [1, 4])
    assert int((w == 0).sum()) == 3 * sum(GROUPS.count(g) for g in zero)  # all of a group or none of it


@pytest.mark.parametrize("train", [train_sgd, train_adam])
def test_single_columns_give_scikit_learns_multi_task_lasso(train) -> None:
    X, y = regression()
    w = train(GroupLasso(0.1), Role("weight", True))
    reference = MultiTaskLasso(0.1 * 3**0.5, fit_intercept=False, tol=1e-14, max_iter=100_000)
    expected = torch.from_numpy(reference.fit(X.numpy(), y.numpy()).coef_)
    assert torch.equal(w == 0, expected == 0)
    torch.testing.assert_close(w, expected, rtol=0, atol=1e-8)


def test_scalar_threshold_under_adam_is_caught() -> None:
    groups = torch.tensor(GROUPS)
    w = train_adam(GroupLasso(0.15), Role("weight", True, GROUPS), scalar=True)
    assert residual(slope(w), w, limits(0.15, 3, groups), groups) > 1e-3
