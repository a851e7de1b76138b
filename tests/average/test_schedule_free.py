"""Schedule-free learning against slow float64 twins of Schedule-Free SGD and AdamW, written from the paper."""

import math

import pytest
import torch

from poise import Decay, Linear, MaxNorm, Recipe, ScheduleFree, UnitNorm
from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.testing import check_regularizer
from poise.train.losses import SquaredError
from poise.train.optimizers import Sgd
from poise.train.population import Population, Rows

CURVATURE = (4.0, 1.0, 0.25)
TARGET = (0.5, -1.0, 2.0)


def gradient(point: list[float]) -> list[float]:
    return [c * (p - t) + 0.1 * math.cos(3 * p) for c, p, t in zip(CURVATURE, point, TARGET, strict=True)]


def objective(weight: torch.Tensor) -> torch.Tensor:
    c, t = (torch.tensor(v, dtype=torch.float64) for v in (CURVATURE, TARGET))
    return (0.5 * c * (weight - t) ** 2 + 0.1 / 3 * torch.sin(3 * weight)).sum()


def network() -> torch.nn.Module:
    model = torch.nn.Linear(3, 1, bias=False).double()
    torch.nn.init.constant_(model.weight, 1.0)
    return model


def trained(part: ScheduleFree, rates: list[float], kind: str = "sgd", decay: float = 0.0) -> tuple[list, list]:
    """Return (y, x) after each step of the plain loop."""
    run = Recipe(part, *([Decay(decay)] if decay else [])).start(network())
    makers = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.0),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.0, betas=(0.0, 0.99), weight_decay=0.0),
    }
    optimizer = makers[kind](run.model.parameters())
    ys, xs = [], []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        run.objective(objective(run.model.weight[0])).backward()
        run.update(optimizer)
        ys.append(run.model.weight.detach()[0].tolist())
        xs.append(run.averaged["weight"][0].tolist())
    return ys, xs


def twin(
    rates: list[float], beta: float | Linear, kind: str = "sgd", decay: float = 0.0, counted: int = 0
) -> tuple[list, list]:
    """The paper's algorithm on lists of Python floats; `counted`: how often the start counts in the average."""
    x, y, z, v, total = [1.0] * 3, [1.0] * 3, [1.0] * 3, [0.0] * 3, counted * rates[0] ** 2
    ys, xs = [], []
    for t, rate in enumerate(rates, start=1):
        g = gradient(y)
        total += rate**2
        c = rate**2 / total
        for i in range(3):
            direction = g[i]
            if kind == "adamw":
                v[i] = 0.99 * v[i] + 0.01 * g[i] ** 2
                direction = g[i] / (math.sqrt(v[i] / (1 - 0.99**t)) + 1e-8)
            z[i] -= rate * direction + rate * decay * y[i]
            x[i] = (1 - c) * x[i] + c * z[i]
            share = float(beta(t - 1)) if isinstance(beta, Linear) else beta
            y[i] = (1 - share) * z[i] + share * x[i]
        ys.append(list(y))
        xs.append(list(x))
    return ys, xs


def gap(ours: list, theirs: list) -> float:
    return max(abs(a - b) for p, q in zip(ours, theirs, strict=True) for a, b in zip(p, q, strict=True))


CONSTANT, WARM = [0.1] * 50, [0.2 * min(1.0, (t + 1) / 10) for t in range(50)]


@pytest.mark.parametrize("rates", [CONSTANT, WARM], ids=["constant", "warm-up"])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize(("beta", "decay"), [(0.9, 0.0), (0.9, 0.3), (0.0, 0.0), (0.98, 0.1)])
def test_it_is_the_papers_algorithm(rates: list[float], kind: str, beta: float, decay: float) -> None:
    ours, theirs = trained(ScheduleFree(beta), rates, kind, decay), twin(rates, beta, kind, decay)
    for one, other in zip(ours, theirs, strict=True):
        assert gap(one, other) < 1e-12


def test_a_momentum_that_moves_leaves_z_where_the_optimizer_left_it() -> None:
    beta = Linear(0.5, 0.95, steps=40)
    ours, theirs = trained(ScheduleFree(beta), CONSTANT, decay=0.3), twin(CONSTANT, beta, decay=0.3)
    for one, other in zip(ours, theirs, strict=True):
        assert gap(one, other) < 1e-12


def test_an_average_over_the_start_is_told_apart() -> None:
    """The twin would catch c = 1 / (t + 1), the same idea with the initial weights counted as one of the points."""
    assert gap(trained(ScheduleFree(0.9), CONSTANT)[1], twin(CONSTANT, 0.9, counted=1)[1]) > 1e-3


def test_without_momentum_x_is_the_mean_of_what_plain_descent_visits() -> None:
    run = Recipe().start(network())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    visited = []
    for _ in range(20):
        run.objective(objective(run.model.weight[0])).backward()
        run.update(optimizer)
        visited.append(run.model.weight.detach()[0].clone())
    x = trained(ScheduleFree(0.0), CONSTANT[:20])[1][-1]
    torch.testing.assert_close(
        torch.tensor(x, dtype=torch.float64), torch.stack(visited).mean(0), rtol=1e-12, atol=1e-14
    )


def test_at_a_share_between_the_average_is_exponential_in_the_end() -> None:
    part, x = ScheduleFree(0.0, share=0.75), 0.0
    memory = part.remember({"w": torch.zeros(1, dtype=torch.float64)})
    ctx = Context(0, Rng(key(0)), lr=0.1)
    for t in range(1, 400):
        x += (1 - 0.75 * (1 - 1 / t)) * (float(t % 2) - x)
        _, memory = part.update({"w": torch.tensor([float(t % 2)], dtype=torch.float64)}, memory, ctx)
    assert float(memory["x/w"]) == pytest.approx(x, rel=1e-12)
    assert float(memory["x/w"]) == pytest.approx((1 / 1.75), rel=1e-2)  # the fixed point of an average with decay 0.75


def test_a_projection_acts_on_z() -> None:
    run = Recipe(ScheduleFree(0.9), MaxNorm(0.5)).start(network())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    for _ in range(5):
        run.objective(objective(run.model.weight[0])).backward()
        run.update(optimizer)
        assert float(run.memory["schedule_free"]["z/weight"].norm()) <= 0.5 * (1 + 1e-9)
        assert float(run.averaged["weight"].norm()) <= 0.5 * (1 + 1e-9)  # a mean of points in a ball is in the ball


def test_a_projection_onto_a_sphere_acts_on_z_too() -> None:
    run = Recipe(ScheduleFree(0.9), UnitNorm()).start(network())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    for _ in range(5):
        run.objective(objective(run.model.weight[0])).backward()
        run.update(optimizer)
        assert float(run.memory["schedule_free"]["z/weight"].norm()) == pytest.approx(1.0, rel=1e-12)


def test_evaluation_uses_x_and_training_goes_on_from_y() -> None:
    run = Recipe(ScheduleFree(0.9)).start(network())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    for _ in range(3):
        run.objective(objective(run.model.weight[0])).backward()
        run.update(optimizer)
    y = run.model.weight.detach().clone()
    with run.evaluation() as model:
        assert torch.equal(model.weight, run.memory["schedule_free"]["x/weight"])
    assert torch.equal(run.model.weight, y)
    assert torch.equal(run.predictor().weight, run.memory["schedule_free"]["x/weight"])


def test_a_rate_of_zero_moves_nothing() -> None:
    ys, xs = trained(ScheduleFree(0.9), [0.0, 0.0])
    assert ys == xs == [[1.0] * 3] * 2


def test_members_of_a_population_average_as_the_twin_does() -> None:
    rows = Rows(torch.eye(3, dtype=torch.float64), torch.tensor(TARGET, dtype=torch.float64)[:, None])
    rates = [0.3, 0.9]
    population = Population(network, Recipe(ScheduleFree(0.8)), SquaredError(), lr=rates, optimizer=Sgd())
    population.train(rows, steps=15, batch_size=3)
    for member, rate in enumerate(rates):
        x = y = z = [1.0] * 3
        for t in range(1, 16):
            z = [a - rate * 2 / 3 * (b - target) for a, b, target in zip(z, y, TARGET, strict=True)]
            x = [a + (b - a) / t for a, b in zip(x, z, strict=True)]
            y = [0.2 * a + 0.8 * b for a, b in zip(z, x, strict=True)]
        assert population.weights()["weight"][member, 0].tolist() == pytest.approx(x, rel=1e-10)


def test_it_passes_the_battery() -> None:
    assert check_regularizer(ScheduleFree()).count >= 20
