"""The hierarchical lasso's proximal operator: the paper's algorithm, minimisation by brute force, the constraint."""

import math

import pytest
import torch

from poise.update.hierarchical_threshold import hierarchical_threshold

DOUBLE = torch.float64
GROUPS = torch.tensor([0, 0, 1, 2, 2, 2])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=generator(seed))


def spread(*shape: int, orders: float, seed: int) -> torch.Tensor:
    """Effective steps that differ by so many orders of magnitude, as Adam's do."""
    return 10 ** (-orders * torch.rand(*shape, dtype=DOUBLE, generator=generator(seed)))


def number(seed: int) -> float:
    return 10 ** float(draw(1, seed=seed))


def hier_prox(v: torch.Tensor, u: torch.Tensor, strength: float, hierarchy: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Algorithm 2 of the paper for one feature, as a loop: skip weights v (K,), first-layer weights u (rows,)."""
    ordered = sorted((abs(float(x)) for x in u), reverse=True)
    size = float(v.norm())
    for m in range(len(ordered) + 1):
        soft = max(0.0, size + hierarchy * sum(ordered[:m]) - strength)
        w = hierarchy / (1 + m * hierarchy**2) * soft
        above = math.inf if m == 0 else ordered[m - 1]
        below = 0.0 if m == len(ordered) else ordered[m]
        if below <= w <= above:
            return v * (w / hierarchy / size), u.sign() * u.abs().clamp(max=w)
    raise AssertionError("no m satisfies the paper's condition")


def cost(b, W, v, u, s, t, strength: float) -> torch.Tensor:
    """The objective of the operator; a last dimension may hold many candidates."""
    return strength * b.norm(dim=0) + ((b - v).square() / (2 * s)).sum(0) + ((W - u).square() / (2 * t)).sum(0)


def least_cost(v, u, s, t, strength: float, hierarchy: float) -> float:
    """The smallest cost over radii of the skip, on a grid that is refined around its best place."""
    top = float(v.norm()) + float(u.abs().sum()) * (hierarchy + 1 / hierarchy)
    best, r = float(cost(0 * v, 0 * u, v, u, s, t, strength)), torch.logspace(-9, 0, 2000, dtype=DOUBLE) * top
    for _ in range(4):
        W = u.sign() * torch.minimum(u.abs(), hierarchy * r)
        # The best b on the sphere is v / (1 + s mu) of norm r, mu > -1 / max s; bisection for mu above that end.
        low, high, rest = torch.full_like(r, -60.0), torch.full_like(r, 60.0), 1 - s / s.max()
        for _ in range(80):
            middle = (low + high) / 2
            large = (v / (rest + s * 10**middle)).norm(dim=0) > r
            low, high = torch.where(large, middle, low), torch.where(large, high, middle)
        costs = cost(v / (rest + s * 10**high), W, v, u, s, t, strength)
        place = int(costs.argmin())
        best = min(best, float(costs[place]))
        ends = r[max(0, place - 1)], r[min(len(r) - 1, place + 1)]
        r = torch.linspace(float(ends[0]), float(ends[1]), 200, dtype=DOUBLE)
    return best


@pytest.mark.parametrize("seed", range(60))
def test_one_step_for_all_gives_the_papers_algorithm(seed: int) -> None:
    v, u = draw(1 + seed % 3, 1, seed=seed) * number(seed + 1), draw(1 + seed % 17, 1, seed=seed + 2)
    strength, hierarchy, step = number(seed + 3), number(seed + 4), number(seed + 5)
    own = torch.full_like(v, step), torch.full_like(u, step)
    b, W = hierarchical_threshold(v, u, *own, torch.tensor(strength, dtype=DOUBLE), hierarchy)
    expected = hier_prox(v[:, 0], u[:, 0], strength * step, hierarchy)
    torch.testing.assert_close(b[:, 0], expected[0], rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(W[:, 0], expected[1], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("orders", [0, 1, 3, 8])
@pytest.mark.parametrize("seed", range(12))
def test_no_radius_costs_less_in_the_optimizers_metric(seed: int, orders: float) -> None:
    v, u = draw(1 + seed % 4, 1, seed=seed) * number(seed + 1), draw(5 + 3 * seed, 1, seed=seed + 2)
    s, t = spread(*v.shape, orders=orders, seed=seed + 3), spread(*u.shape, orders=orders, seed=seed + 4)
    strength, hierarchy = number(seed + 5) ** 2, number(seed + 6)
    b, W = hierarchical_threshold(v, u, s, t, torch.tensor(strength, dtype=DOUBLE), hierarchy)
    found, best = float(cost(b, W, v, u, s, t, strength)), least_cost(v, u, s, t, strength, hierarchy)
    assert found == pytest.approx(best, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_a_shift_of_the_answer_costs_more(seed: int) -> None:
    """Twelve columns in three groups at once, each moved within the constraint."""
    v, u = draw(2, 6, seed=seed), draw(7, 6, seed=seed + 1)
    s, t = spread(2, 6, orders=2, seed=seed + 2), spread(7, 6, orders=2, seed=seed + 3)
    b, W = hierarchical_threshold(v, u, s, t, torch.tensor(0.5, dtype=DOUBLE), 0.3, GROUPS)

    def total(b: torch.Tensor, W: torch.Tensor) -> float:
        norms = sum(int((g == GROUPS).sum()) ** 0.5 * float(b[:, g == GROUPS].norm()) for g in range(3))
        return 0.5 * norms + float(((b - v).square() / (2 * s)).sum() + ((W - u).square() / (2 * t)).sum())

    own = generator(seed + 9)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(100):
            moved = b + size * torch.randn(b.shape, dtype=DOUBLE, generator=own)
            bound = torch.stack([0.3 * moved[:, g == GROUPS].norm() for g in GROUPS.tolist()])
            near = W + size * torch.randn(W.shape, dtype=DOUBLE, generator=own)
            assert total(b, W) <= total(moved, near.clamp(-bound, bound)) + 1e-12


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_no_weight_exceeds_its_bound(groups: torch.Tensor | None) -> None:
    v, u = draw(2, 6, seed=1), 5 * draw(40, 6, seed=2)
    s, t = spread(2, 6, orders=5, seed=3), spread(40, 6, orders=5, seed=4)
    b, W = hierarchical_threshold(v, u, s, t, torch.tensor(0.1, dtype=DOUBLE), 2.0, groups)
    numbers = torch.arange(6) if groups is None else groups
    for g in numbers.unique():
        assert float(W[:, numbers == g].abs().max()) <= 2.0 * float(b[:, numbers == g].norm()) * (1 + 1e-14)


def test_what_leaves_is_exactly_zero_in_both_layers_and_a_group_leaves_together() -> None:
    v, u = 0.01 * draw(2, 6, seed=1), 0.001 * draw(9, 6, seed=2)
    v[:, 2] += 3
    one = torch.ones(2, 6, dtype=DOUBLE), torch.ones(9, 6, dtype=DOUBLE)
    b, W = hierarchical_threshold(v, u, *one, torch.tensor(1.0, dtype=DOUBLE), 10.0, GROUPS)
    assert (b != 0).any(0).tolist() == [False, False, True, False, False, False]
    assert (W != 0).any(0).tolist() == [False, False, True, False, False, False]


def test_a_skip_of_zero_is_raised_evenly_where_the_weights_are_worth_it() -> None:
    """Any direction costs the same: sqrt(2) |b| / 2 each, and not NaN."""
    v, u = torch.zeros(2, 1, dtype=DOUBLE), torch.tensor([[3.0], [-2.0]], dtype=DOUBLE)
    one = torch.ones(2, 1, dtype=DOUBLE)
    b, W = hierarchical_threshold(v, u, one, one, torch.tensor(0.5, dtype=DOUBLE), 1.0)
    # m = 2: r = (0 - 0.5 + 5) / 3 = 1.5, both weights clipped.
    torch.testing.assert_close(b, torch.full_like(b, 1.5 / 2**0.5))
    torch.testing.assert_close(W, torch.tensor([[1.5], [-1.5]], dtype=DOUBLE))


def test_the_freest_coordinate_of_a_zero_skip_takes_what_the_others_leave() -> None:
    v, u = torch.tensor([[0.3], [0.0]], dtype=DOUBLE), torch.tensor([[9.0]], dtype=DOUBLE)
    s, t = torch.tensor([[0.1], [1.0]], dtype=DOUBLE), torch.ones(1, 1, dtype=DOUBLE)
    b, W = hierarchical_threshold(v, u, s, t, torch.tensor(0.5, dtype=DOUBLE), 1.0)
    angle = torch.linspace(0, math.pi, 2001, dtype=DOUBLE)
    r = torch.linspace(0.01, 9, 2000, dtype=DOUBLE)[:, None]
    many = torch.stack([r * angle.cos(), r * angle.sin()])
    clipped = (9 - r).square() / 2
    grid = 0.5 * r + (many[0] - 0.3).square() / 0.2 + many[1].square() / 2 + clipped
    assert float(cost(b, W, v, u, s, t, 0.5)) <= float(grid.min())
    assert float(b[1]) > 0


def test_strength_zero_is_the_identity_bit_for_bit() -> None:
    v, u = draw(2, 6, seed=1).float(), 100 * draw(9, 6, seed=2).float()
    b, W = hierarchical_threshold(v, u, torch.ones(2, 6), torch.ones(9, 6), torch.tensor(0.0), 0.1)
    assert torch.equal(b, v)
    assert torch.equal(W, u)


def test_learning_rate_zero_moves_nothing() -> None:
    v, u = draw(2, 6, seed=1), 100 * draw(9, 6, seed=2)
    none = torch.zeros(2, 6, dtype=DOUBLE), torch.zeros(9, 6, dtype=DOUBLE)
    b, W = hierarchical_threshold(v, u, *none, torch.tensor(3.0, dtype=DOUBLE), 0.1)
    assert torch.equal(b, v)
    assert torch.equal(W, u)


def test_hierarchy_zero_leaves_the_linear_model() -> None:
    v, u, step = draw(1, 6, seed=1), draw(9, 6, seed=2), torch.full((1, 6), 0.5, dtype=DOUBLE)
    b, W = hierarchical_threshold(v, u, step, step.expand(9, 6), torch.tensor(0.8, dtype=DOUBLE), 0.0)
    torch.testing.assert_close(b, v - v.clamp(-0.4, 0.4), rtol=1e-13, atol=1e-15)
    assert not W.any()


def test_nan_stays_nan_so_that_divergence_is_seen() -> None:
    v, u, one = draw(2, 6, seed=1), draw(9, 6, seed=2), torch.ones(1, 6, dtype=DOUBLE)
    u[3, 2] = float("nan")
    b, W = hierarchical_threshold(v, u, one.expand(2, 6), one.expand(9, 6), torch.tensor(0.1, dtype=DOUBLE), 1.0)
    assert b.isnan().any(0).tolist() == [False, False, True, False, False, False]
    assert W.isnan().any(0).tolist() == [False, False, True, False, False, False]


def test_members_get_what_they_get_alone() -> None:
    v, u = draw(3, 2, 6, seed=1), draw(3, 9, 6, seed=2)
    s, t = spread(3, 2, 6, orders=3, seed=3), spread(3, 9, 6, orders=3, seed=4)
    strength, hierarchy = torch.tensor([0.0, 0.2, 9.0], dtype=DOUBLE), torch.tensor([1.0, 5.0, 0.1], dtype=DOUBLE)

    def one(v, u, s, t, strength, hierarchy):
        return hierarchical_threshold(v, u, s, t, strength, hierarchy, GROUPS)

    many = torch.vmap(one)(v, u, s, t, strength, hierarchy)
    for m in range(3):
        for a, b in zip(many, one(v[m], u[m], s[m], t[m], strength[m], hierarchy[m]), strict=True):
            torch.testing.assert_close(a[m], b, rtol=1e-12, atol=1e-14)
