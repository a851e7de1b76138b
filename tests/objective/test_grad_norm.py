"""GradNorm against its loss differentiated by torch, and against the balance that it seeks."""

import pytest
import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.regularizer import Memory
from poise.core.rng import Rng, key
from poise.objective import GradNorm

TASKS = ("a", "b", "c")
PARAMS = {"w": torch.zeros(1, dtype=torch.float64)}


def raw_gradients() -> dict[str, dict[str, Tensor]]:
    """Unweighted: two shared parameters, and a head for each task, which no other task reaches."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    found = {}
    for place, task in enumerate(TASKS):
        heads = {f"head_{other}": draw(4) * (other == task) for other in TASKS}
        found[task] = {"w": 10.0**place * draw(3, 2), "b": 10.0**place * draw(2)} | heads
    return found


def context(weights: Tensor, raw: dict[str, dict[str, Tensor]]) -> Context:
    weighted = {t: {n: w * g for n, g in raw[t].items()} for t, w in zip(TASKS, weights, strict=True)}
    return Context(0, Rng(key(0)), tasks=weighted)


def started(weights: list[float], first: list[float], latest: list[float]) -> Memory:
    values = {"weight": weights, "first": first, "latest": latest}
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def slow_norms(raw: dict[str, dict[str, Tensor]]) -> Tensor:
    return torch.stack([torch.cat([raw[t]["w"].flatten(), raw[t]["b"]]).norm() for t in TASKS])


def slow_target(norms: Tensor, memory: Memory, alpha: float) -> Tensor:
    left = memory["latest"] / memory["first"]
    return norms.mean() * (left / left.mean()) ** alpha


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_the_step_is_the_gradient_of_its_loss_in_the_log_weights(alpha: float) -> None:
    raw, memory = raw_gradients(), started([0.5, 2.0, 0.5], [4.0, 2.0, 1.0], [1.0, 1.9, 0.2])
    log_weights = memory["weight"].log().requires_grad_()
    norms = log_weights.exp() * slow_norms(raw)
    target = slow_target(norms.detach(), memory, alpha)
    (slope,) = torch.autograd.grad((norms - target).abs().sum() / norms.detach().mean(), log_weights)
    expected = torch.exp(log_weights.detach() - 0.1 * slope)
    expected = 3 * expected / expected.sum()
    grads = {"w": torch.ones(3, 2)}
    after, new = GradNorm(0.1, alpha, tasks=TASKS).gradient(grads, memory, context(memory["weight"], raw))
    torch.testing.assert_close(new["weight"], expected, rtol=1e-12, atol=1e-12)
    assert after is grads


def test_it_comes_to_balance_where_the_norms_are_their_targets() -> None:
    raw, memory = raw_gradients(), started([1.0, 1.0, 1.0], [4.0, 2.0, 1.0], [2.0, 1.0, 0.6])
    for step in range(2000):
        part = GradNorm(0.5 / (1 + step / 10), 1.5, tasks=TASKS)
        _, memory = part.gradient({}, memory, context(memory["weight"], raw))
    norms = memory["weight"] * slow_norms(raw)
    target = slow_target(norms, memory, 1.5)
    # The targets need not sum to the norms' sum: what is reached are their proportions.
    torch.testing.assert_close(norms / norms.sum(), target / target.sum(), rtol=0.03, atol=0)


def test_weights_stay_positive_and_sum_to_the_number_of_tasks() -> None:
    raw, memory = raw_gradients(), started([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [5.0, 0.1, 1.0])
    for _ in range(50):
        _, memory = GradNorm(0.2, 3.0, tasks=TASKS).gradient({}, memory, context(memory["weight"], raw))
        assert bool((memory["weight"] > 0).all())
        assert float(memory["weight"].sum()) == pytest.approx(3.0)


def test_heads_do_not_count() -> None:
    raw = raw_gradients()
    memory = started([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    _, expected = GradNorm(tasks=TASKS).gradient({}, memory, context(memory["weight"], raw))
    raw["a"]["head_a"] = 1e6 * raw["a"]["head_a"]
    _, found = GradNorm(tasks=TASKS).gradient({}, memory, context(memory["weight"], raw))
    assert torch.equal(found["weight"], expected["weight"])


def test_equal_tasks_keep_equal_weights() -> None:
    raw = dict.fromkeys(TASKS, raw_gradients()["a"])
    memory = started([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    _, new = GradNorm(0.2, tasks=TASKS).gradient({}, memory, context(memory["weight"], raw))
    assert new["weight"].tolist() == pytest.approx([1.0] * 3)


def test_a_task_without_labels_neither_moves_nor_counts() -> None:
    raw = raw_gradients()
    raw["b"] = {name: torch.zeros_like(g) for name, g in raw["b"].items()}
    memory = started([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    _, new = GradNorm(0.2, 0.0, tasks=TASKS).gradient({}, memory, context(memory["weight"], raw))
    two = GradNorm(0.2, 0.0, tasks=("a", "c"))
    _, other = two.gradient({}, {n: m[[0, 2]] for n, m in memory.items()}, context(memory["weight"], raw))
    ratio = float(other["weight"][0] / other["weight"][1])
    assert float(new["weight"][0] / new["weight"][2]) == pytest.approx(ratio)
    assert bool(torch.isfinite(new["weight"]).all())


def test_no_gradient_at_all_leaves_the_weights() -> None:
    zeros = {task: {"w": torch.zeros(2, dtype=torch.float64)} for task in TASKS}
    memory = started([0.5, 1.5, 1.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    _, new = GradNorm(tasks=TASKS).gradient({}, memory, Context(0, Rng(key(0)), tasks=zeros))
    assert new["weight"].tolist() == pytest.approx([0.5, 1.5, 1.0])


def test_the_first_loss_is_the_first_that_a_task_had() -> None:
    part, memory = GradNorm(tasks=TASKS), GradNorm(tasks=TASKS).remember(PARAMS)
    for row in ([2.0, 0.0, 1.0], [1.0, 5.0, 0.5], [0.5, 4.0, 0.0]):
        _, memory = part.weigh(torch.tensor(row, dtype=torch.float64), memory, Context(0, Rng(key(0))))
    assert memory["first"].tolist() == [2.0, 5.0, 1.0]
    assert memory["latest"].tolist() == [0.5, 4.0, 0.5]
