"""Gradient surgery against a slow loop of the paper's algorithm, and the paper's own picture."""

import pytest
import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.gradient import PcGrad
from poise.gradient.surgery import realigned

Gradients = dict[str, dict[str, Tensor]]


def draw(tasks: int, seed: int = 0, size: int = 12) -> Gradients:
    """Random gradients of a shared part and of heads, conflicting often."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for number in range(tasks):
        shared = torch.randn(size, generator=generator, dtype=torch.float64) / (1 + number)
        heads = {f"head{i}": torch.ones(2, dtype=torch.float64) * (i == number) for i in range(tasks)}
        found[f"t{number}"] = {"w": shared.reshape(3, -1)} | heads
    return found


def total(tasks: Gradients, penalty: float = 0.0) -> dict[str, Tensor]:
    first = next(iter(tasks.values()))
    return {name: torch.stack([g[name] for g in tasks.values()]).sum(0) + penalty for name in first}


def flat(gradient: dict[str, Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradient.values()])


def surgery(tasks: Gradients, grads: dict[str, Tensor], share: float = 1.0, seed: int = 0) -> dict[str, Tensor]:
    ctx = Context(0, Rng(key(seed)).fold("pc_grad"), tasks=tasks)
    return PcGrad(share).gradient(grads, {}, ctx)[0]


def projected(originals: Tensor, order: list[list[int]]) -> Tensor:
    products = originals @ originals.T
    return realigned(products, torch.tensor(order), torch.zeros_like(products))[0] @ originals


def order_of(tasks: Gradients, seed: int) -> list[list[int]]:
    rng = Rng(key(seed)).fold("pc_grad")
    return [rng.permutation(f"order/{task}", len(tasks)).tolist() for task in tasks]


def slow(tasks: Gradients, order: list[list[int]]) -> list[Tensor]:
    """Algorithm 1 on whole gradients; returns each task's projected gradient."""
    originals = [flat(g) for g in tasks.values()]
    found = []
    for i, original in enumerate(originals):
        p = original.clone()
        for j in order[i]:
            dot = float(p @ originals[j])
            if j != i and dot < 0:
                p = p - dot / float(originals[j] @ originals[j]) * originals[j]
        found.append(p)
    return found


def test_two_tasks_in_the_plane_by_hand() -> None:
    tasks = {"a": {"w": torch.tensor([2.0, 0.0])}, "b": {"w": torch.tensor([-1.0, 1.0])}}
    # a . b = -2: a + b = (2, 0) + (-1, 1) = (1, 1); b + a/2 = (-1, 1) + (1, 0) = (0, 1).
    assert surgery(tasks, total(tasks))["w"].tolist() == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize("count", [2, 3, 5, 9])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_slow_loop(count: int, seed: int) -> None:
    tasks = draw(count, seed)
    expected = torch.stack(slow(tasks, order_of(tasks, seed))).sum(0)
    torch.testing.assert_close(flat(surgery(tasks, total(tasks), seed=seed)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_no_projected_gradient_conflicts_with_the_other_tasks_original_one(seed: int) -> None:
    tasks = draw(2, seed)
    originals = torch.stack([flat(g) for g in tasks.values()])
    mixed = projected(originals, [[0, 1], [1, 0]])
    dots = mixed @ originals.T
    assert float(dots[0, 1]) >= -1e-12
    assert float(dots[1, 0]) >= -1e-12


@pytest.mark.parametrize("seed", range(20))
def test_of_several_tasks_each_ends_without_a_conflict_with_the_last_that_it_met(seed: int) -> None:
    tasks, order = draw(5, seed), order_of(draw(5, seed), seed)
    originals = torch.stack([flat(g) for g in tasks.values()])
    mixed = projected(originals, order)
    for i, row in enumerate(order):
        last = [j for j in row if j != i][-1]
        assert float(mixed[i] @ originals[last]) >= -1e-12


def test_identical_tasks_are_left_as_their_sum() -> None:
    tasks = dict.fromkeys(("a", "b", "c"), draw(1)["t0"])
    before = total(tasks)
    after = surgery(tasks, before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_tasks_that_agree_are_left_as_they_are() -> None:
    tasks = {"a": {"w": torch.tensor([1.0, 0.0])}, "b": {"w": torch.tensor([1.0, 1.0])}}
    assert torch.equal(surgery(tasks, total(tasks))["w"], total(tasks)["w"])


def test_a_loss_that_is_not_given_by_task_is_refused() -> None:
    tasks = {"data": draw(1)["t0"]}
    with pytest.raises(
        ArgumentError, match=r"`PcGrad` must have the loss of each task; got one loss\. Give it as a dict"
    ):
        surgery(tasks, total(tasks))


def test_one_task_is_left_as_it_is() -> None:
    tasks = draw(1)
    assert torch.equal(flat(surgery(tasks, total(tasks))), flat(total(tasks)))


def test_the_penalties_part_of_the_gradient_stays() -> None:
    tasks = draw(3)
    with_penalty, without = surgery(tasks, total(tasks, penalty=7.0)), surgery(tasks, total(tasks))
    torch.testing.assert_close(flat(with_penalty), flat(without) + 7.0, rtol=1e-12, atol=1e-12)


def test_the_share_goes_from_the_sum_to_the_projected_sum() -> None:
    tasks = draw(4)
    ends = [flat(surgery(tasks, total(tasks), share)) for share in (0.0, 1.0)]
    assert torch.equal(ends[0], flat(total(tasks)))
    half = flat(surgery(tasks, total(tasks), 0.5))
    torch.testing.assert_close(half, (ends[0] + ends[1]) / 2, rtol=1e-12, atol=1e-12)


def test_a_parameter_without_a_tasks_gradient_counts_as_zeros() -> None:
    tasks = draw(3)
    sparse = {task: {n: g for n, g in own.items() if bool(g.any())} for task, own in tasks.items()}
    assert torch.equal(flat(surgery(sparse, total(tasks))), flat(surgery(tasks, total(tasks))))


def test_a_task_without_labels_changes_nothing() -> None:
    tasks = draw(2)
    expected = surgery(tasks, total(tasks))
    absent = {"none": {name: torch.zeros_like(g) for name, g in tasks["t0"].items()}}
    torch.testing.assert_close(flat(surgery(tasks | absent, total(tasks))), flat(expected), rtol=1e-12, atol=1e-12)


def test_the_order_is_drawn_anew_for_each_task_and_step() -> None:
    rngs = [Rng(key(0, step=step)).fold("pc_grad") for step in range(200)]
    orders = torch.stack([torch.stack([r.permutation(f"order/{t}", 3) for t in "ab"]) for r in rngs])
    first = [int((orders[:, 0, 0] == j).sum()) for j in range(3)]
    together = int((orders[:, 0] == orders[:, 1]).all(-1).sum())
    assert uneven(first) < 13.8  # chi squared of two degrees of freedom, p = 0.001
    assert together < 60  # 1 in 6 by chance; one order for all tasks would give all 200


def uneven(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def test_an_order_that_is_not_drawn_would_be_noticed() -> None:
    assert uneven([200, 0, 0]) > 13.8


def test_half_precision_gradients_keep_their_dtype_and_the_products_are_float32() -> None:
    tasks = {t: {n: g.to(torch.bfloat16) for n, g in own.items()} for t, own in draw(3).items()}
    after = surgery(tasks, {n: g.to(torch.bfloat16) for n, g in total(draw(3)).items()})
    assert {g.dtype for g in after.values()} == {torch.bfloat16}
    torch.testing.assert_close(flat(after).double(), flat(surgery(draw(3), total(draw(3)))), rtol=0.05, atol=0.05)


def test_each_member_has_its_own_projections() -> None:
    several = [draw(3, seed) for seed in range(4)]
    keys = torch.stack([key(0, member) for member in range(4)])
    stacked = {t: {n: torch.stack([d[t][n] for d in several]) for n in several[0][t]} for t in several[0]}

    def member(tasks: Gradients, keys: Tensor) -> dict[str, Tensor]:
        return PcGrad().gradient(total(tasks), {}, Context(0, Rng(keys), tasks=tasks))[0]

    mapped = torch.vmap(member)(stacked, keys)
    for place, tasks in enumerate(several):
        alone = member(tasks, keys[place])
        for name, grad in alone.items():
            torch.testing.assert_close(mapped[name][place], grad, rtol=1e-12, atol=1e-12)
