"""Parts that act on units, on transposed convolutions: as on a matrix with a row for each output channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise import (
    AdaptiveClip,
    ArgumentError,
    Centralize,
    GroupLasso,
    HierarchicalLasso,
    MaxNorm,
    Orthogonal,
    Recipe,
    UnitLasso,
    UnitNorm,
    prune_units,
)
from poise.core.context import Context
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.core.select import roles_of
from poise.train.losses import SquaredError
from poise.train.optimizers import Sgd
from poise.train.population import Population, Rows

IN, OUT, KERNEL = 4, 6, (3, 2)

grouped = pytest.mark.parametrize("groups", [1, 2])


class Upward(nn.Module):
    """A transposed convolution and a last layer, in float64."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(IN, OUT, KERNEL, groups=groups)
        self.last = nn.Linear(OUT, 2)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.last(torch.tanh(self.up(x)).mean((2, 3)))
        return answer


class Dense(nn.Module):
    """The same numbers, a row for each output channel."""

    def __init__(self, other: Upward, groups: int) -> None:
        super().__init__()
        matrix = by_hand(other.up.weight.detach(), groups)
        self.up = nn.Linear(matrix.shape[1], OUT).double()
        self.up.load_state_dict({"weight": matrix, "bias": other.get_parameter("up.bias").detach()})
        self.last = other.last


def by_hand(weight: Tensor, groups: int) -> Tensor:
    """What each output channel reads, channel by channel (torch.nn.ConvTranspose2d's layout of its weight)."""
    inputs, outputs = IN // groups, OUT // groups
    rows = []
    for channel in range(OUT):
        group, place = divmod(channel, outputs)
        rows.append(torch.cat([weight[group * inputs + one, place].flatten() for one in range(inputs)]))
    return torch.stack(rows)


def built(groups: int) -> tuple[Upward, Dense]:
    torch.manual_seed(0)
    module = Upward(groups)
    return module, Dense(module, groups)


def context(module: nn.Module, scale: dict[str, Tensor] | None = None, **rest: Any) -> Context:
    params = {name: p.detach() for name, p in module.named_parameters()}
    return Context(0, Rng(key(0)), params=params, roles=roles_of(module), scale=scale or {}, **rest)


def draw(shape: Any, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def updated(part: Regularizer, module: nn.Module, scale: dict[str, Tensor]) -> dict[str, Tensor]:
    ctx = context(module, scale)
    return part.update(dict(ctx.params), {}, ctx)[0]


@grouped
@pytest.mark.parametrize("part", [MaxNorm(0.5), UnitNorm(0.7), UnitLasso(0.3), UnitLasso(0.3, where="weights")])
def test_units_after_the_step_are_those_of_the_matrix(part: Regularizer, groups: int) -> None:
    module, dense = built(groups)
    scale = {name: draw(p.shape, 1).abs() for name, p in module.named_parameters()}
    twin = scale | {"up.weight": by_hand(scale["up.weight"], groups)}
    new, expected = updated(part, module, scale), updated(part, dense, twin)
    assert new["up.weight"].shape == module.up.weight.shape
    close(by_hand(new["up.weight"], groups), expected["up.weight"])
    close(new["up.bias"], expected["up.bias"])
    assert not torch.equal(new["up.weight"], module.up.weight)


@grouped
@pytest.mark.parametrize("part", [Centralize(0.8), AdaptiveClip(0.05)])
def test_units_of_gradients_are_those_of_the_matrix(part: Regularizer, groups: int) -> None:
    module, dense = built(groups)
    grads = {name: draw(p.shape, 2) for name, p in module.named_parameters()}
    twin = grads | {"up.weight": by_hand(grads["up.weight"], groups)}
    new, expected = part.gradient(grads, {}, context(module))[0], part.gradient(twin, {}, context(dense))[0]
    assert new["up.weight"].shape == module.up.weight.shape
    close(by_hand(new["up.weight"], groups), expected["up.weight"])
    close(new["up.bias"], expected["up.bias"])
    assert not torch.equal(new["up.weight"], grads["up.weight"])


@grouped
@pytest.mark.parametrize("part", [Orthogonal(0.3), UnitLasso(0.3)])
def test_terms_are_those_of_the_matrix(part: Regularizer, groups: int) -> None:
    module, dense = built(groups)
    found, expected = (part.objective({}, {}, context(one))[0][part.name] for one in (module, dense))
    close(found, expected)


@grouped
def test_the_slope_of_orthogonality_is_that_of_the_matrix(groups: int) -> None:
    module, dense = built(groups)
    slopes: list[Tensor] = []
    for weight, roles in ((module.up.weight, roles_of(module)), (dense.up.weight, roles_of(dense))):
        term = Orthogonal(0.3).penalty({"up.weight": weight}, Context(0, Rng(key(0)), roles=roles))
        slopes += torch.autograd.grad(term, weight)
    close(by_hand(slopes[0], groups), slopes[1])


def test_units_that_the_lasso_ends_can_be_cut_away() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.ConvTranspose2d(IN, OUT, KERNEL), nn.ReLU(), nn.Flatten(), nn.Linear(OUT * 20, 2)).double()
    new = updated(UnitLasso(1.0), net, {name: torch.full_like(p, 0.1) for name, p in net.named_parameters()})
    net.load_state_dict(new)
    left = sum(bool(channel.any()) for channel in by_hand(new["0.weight"], 1))
    assert 0 < left < OUT
    x = draw((5, IN, 2, 4), 6)
    small, report = prune_units(net, x)
    assert report.widths == {"0": (OUT, left)}
    close(small(x), net(x))


def by_input(weight: Tensor) -> Tensor:
    """What reads each input channel, one column each; an input is of one group alone."""
    return torch.stack([weight[channel].flatten() for channel in range(IN)], 1)


@grouped
@pytest.mark.parametrize("columns", [None, torch.tensor([0, 1, 1, 0])])
def test_the_inputs_of_a_group_lasso_are_the_input_channels(columns: Tensor | None, groups: int) -> None:
    module, _ = built(groups)
    dense = nn.ModuleDict({"up": nn.Linear(IN, OUT // groups * KERNEL[0] * KERNEL[1], bias=False)}).double()
    dense["up"].weight = nn.Parameter(by_input(module.up.weight.detach()))
    part, scale = GroupLasso(0.3), {"up.weight": draw(module.up.weight.shape, 1).abs()}
    ctx, twin = context(module, scale, columns=columns), context(dense, {"up.weight": by_input(scale["up.weight"])},
                                                                 columns=columns)  # fmt: skip
    new, expected = part.update(dict(ctx.params), {}, ctx)[0], part.update(dict(twin.params), {}, twin)[0]
    close(by_input(new["up.weight"]), expected["up.weight"])
    assert new["up.weight"].shape == module.up.weight.shape
    close(part.objective({}, {}, ctx)[0]["group_lasso"], part.objective({}, {}, twin)[0]["group_lasso"])


def test_columns_are_counted_by_the_input_channels() -> None:
    Recipe(GroupLasso(0.1)).start(Upward(2), columns=torch.tensor([0, 1, 1, 0]))
    with pytest.raises(ArgumentError, match=r"the 4 inputs of up\.weight"):
        Recipe(GroupLasso(0.1)).start(Upward(2), columns=torch.tensor([0, 1, 1, 0, 2, 2]))


class Downward(nn.Module):
    """A network whose last layer is a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up = nn.Conv1d(3, 4, 1), nn.ConvTranspose1d(4, 6, 3, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.up(torch.relu(self.first(x))).mean(-1)
        return answer


def test_a_linear_skip_has_an_output_for_each_output_channel() -> None:
    module = HierarchicalLasso(0.1).network(Downward())
    assert module.get_parameter("first.poise_hierarchical_lasso.skip").shape == (6, 3)
    assert module(torch.ones(2, 3, 5)).shape == (2, 6)


PARTS: list[Callable[[], Regularizer]] = [
    lambda: MaxNorm(0.5),
    lambda: UnitNorm(0.5),
    lambda: UnitLasso(0.05),
    lambda: Centralize(0.8),
    lambda: AdaptiveClip(0.05),
    lambda: Orthogonal(0.01),
    lambda: GroupLasso(0.05),
]


@grouped
@pytest.mark.parametrize("make", PARTS)
def test_a_population_trains_as_a_loop_of_ones_own(make: Callable[[], Regularizer], groups: int) -> None:
    data = Rows(draw((12, IN, 3, 3), 3), draw((12, 2), 4))
    population = Population(
        lambda: Upward(groups), Recipe(make()), SquaredError(), lr=[0.3, 0.1], optimizer=Sgd(), seed=5
    )
    alone = Upward(groups)
    with torch.no_grad():
        for name, parameter in alone.named_parameters():
            parameter.copy_(population.state.flat.views()[name][1])
    run = Recipe(make()).start(alone, seed=5)
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    for _ in range(6):
        run.objective((run.model(data.inputs) - data.targets).square().mean()).backward()
        run.update(optimizer)
        optimizer.zero_grad()
    population.train(data, 6, len(data))
    for name, parameter in run.model.named_parameters():
        torch.testing.assert_close(population.state.flat.views()[name][1], parameter.detach(), rtol=1e-9, atol=1e-11)
