"""Unit lasso: the rows of a layer with its bias as groups, the output layer left alone, exact zeros after training."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import Recipe, UnitLasso
from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import roles_of
from poise.testing import check_regularizer
from poise.testing.samples import image_sample


def context(module: nn.Module, scale: dict[str, torch.Tensor] | None = None) -> Context:
    params = {name: p.detach() for name, p in module.named_parameters()}
    steps = scale or {name: torch.full_like(p, 0.1) for name, p in params.items()}
    return Context(0, Rng(key(0)), params=params, roles=roles_of(module), scale=steps)


def updated(module: nn.Module, part: UnitLasso) -> dict[str, torch.Tensor]:
    ctx = context(module)
    return part.update(dict(ctx.params), {}, ctx)[0]


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 2)).double()


@pytest.mark.parametrize("weight", [0.5, 1.5])
def test_one_step_for_all_gives_the_closed_form_unit_by_unit(weight: float) -> None:
    module, new = mlp(), updated(mlp(), UnitLasso(weight))
    for layer, bias in ((0, True), (2, False)):
        own = module[layer]
        rows = torch.cat([own.weight, own.bias[:, None]], 1) if bias else own.weight
        threshold = 0.1 * weight * rows.shape[1] ** 0.5
        expected = (rows * (1 - threshold / rows.norm(dim=1, keepdim=True)).clamp(min=0)).detach()
        found = new[f"{layer}.weight"]
        found = torch.cat([found, new[f"{layer}.bias"][:, None]], 1) if bias else found
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_the_output_layer_is_left_alone() -> None:
    module, new = mlp(), updated(mlp(), UnitLasso(1e6))
    assert torch.equal(new["4.weight"], module[4].weight)
    assert torch.equal(new["4.bias"], module[4].bias)
    assert not any(new[name].any() for name in ("0.weight", "0.bias", "2.weight"))


def test_a_convolutions_unit_is_an_output_channel_with_its_bias() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(16, 2)).double()
    new = updated(module, UnitLasso(0.4))
    rows = torch.cat([module[0].weight.flatten(1), module[0].bias[:, None]], 1).detach()
    expected = rows * (1 - 0.1 * 0.4 * 13**0.5 / rows.norm(dim=1, keepdim=True)).clamp(min=0)
    torch.testing.assert_close(new["0.weight"].flatten(1), expected[:, :-1], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(new["0.bias"], expected[:, -1], rtol=1e-12, atol=1e-15)


def test_unequal_steps_satisfy_the_optimality_conditions() -> None:
    module = mlp()
    own = torch.Generator().manual_seed(3)
    steps = {n: 10 ** (-3 * torch.rand(p.shape, generator=own, dtype=p.dtype)) for n, p in module.named_parameters()}
    ctx = context(module, steps)
    new = UnitLasso(60.0).update(dict(ctx.params), {}, ctx)[0]

    def rows(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([values["0.weight"], values["0.bias"][:, None]], 1)

    z, v, s, limit = rows(new), rows(ctx.params), rows(steps), 60.0 * 5**0.5
    kept = (z != 0).any(1)
    assert 0 < int(kept.sum()) < 6
    torch.testing.assert_close((z + s * limit * z / z.norm(dim=1, keepdim=True))[kept], v[kept], rtol=1e-11, atol=1e-13)
    assert bool(((v / s).norm(dim=1)[~kept] <= limit).all())


def test_reported_term_is_the_sum_of_weighted_unit_norms() -> None:
    module = mlp()
    ctx = context(module)
    terms, _ = UnitLasso(0.7).objective({}, {}, ctx)
    first = torch.cat([module[0].weight, module[0].bias[:, None]], 1).norm(dim=1).sum() * 5**0.5
    second = module[2].weight.norm(dim=1).sum() * 6**0.5
    torch.testing.assert_close(terms["unit_lasso"], 0.7 * (first + second).detach())


def test_layers_with_several_weights_are_left_alone() -> None:
    module = nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2))
    new = updated(module, UnitLasso(1e6))
    assert all(torch.equal(new[name], p) for name, p in module.named_parameters())


def test_a_0_d_parameter_beside_a_layers_weight_is_no_unit() -> None:
    plain, gained = mlp(), mlp()
    gained[0].gain = nn.Parameter(torch.tensor(1.5).double())
    new, expected = updated(gained, UnitLasso(1.5)), updated(plain, UnitLasso(1.5))
    assert new.pop("0.gain") == 1.5
    assert all(torch.equal(new[name], own) for name, own in expected.items())


def test_vectors_without_a_weight_beside_them_are_left_alone() -> None:
    inner = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))  # its weights are elsewhere, and two
    module = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), inner, nn.Linear(4, 2))
    new = updated(module, UnitLasso(1e6))
    assert not new["0.weight"].any()
    assert torch.equal(new["1.weight"], module[1].weight)
    assert torch.equal(new["2.bias"], inner.bias)


class _First(nn.Module):
    """A linear map, which is a convex problem; the last layer, which the part leaves alone, has no say."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.first(x)
        return answer + 0 * self.last(answer)


@pytest.mark.parametrize("adam", [False, True])
def test_fixed_point_satisfies_the_conditions_unit_by_unit(adam: bool) -> None:
    """The gradient is -t row / |row| of a unit that is there, and no longer than t of one that is not."""
    own = torch.Generator().manual_seed(1)
    x = torch.randn(80, 6, dtype=torch.float64, generator=own)
    truth = torch.tensor([2.0, 1.0, 0.5, 0.05, 0.0], dtype=torch.float64)
    y = x @ torch.randn(6, 5, dtype=torch.float64, generator=own) * truth + truth
    torch.manual_seed(2)
    run = Recipe(UnitLasso(0.1)).start(_First().double())
    first = run.model.first
    moving = list(run.model.parameters())
    stepper = torch.optim.Adam(moving, lr=1e-2, betas=(0.9, 0.99)) if adam else torch.optim.SGD(moving, lr=0.3)
    for _ in range(4000 if adam else 600):
        run.objective((run.model(x) - y).square().sum() / (2 * len(x))).backward()
        run.update(stepper)
    residual = (first(x) - y).detach()
    slope = torch.cat([residual.T @ x, residual.sum(0)[:, None]], 1) / len(x)
    rows = torch.cat([first.weight, first.bias[:, None]], 1).detach()
    bound, there = 0.1 * 7**0.5, (rows != 0).any(1)
    size = rows.norm(dim=1, keepdim=True).clamp(min=1e-300)
    off = torch.where(there, (slope + bound * rows / size).norm(dim=1), (slope.norm(dim=1) - bound).clamp(min=0))
    assert 0 < int(there.sum()) < 5
    assert float(off.max()) <= 1e-10


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_training_leaves_whole_units_exactly_zero(optimizer: type[torch.optim.Optimizer]) -> None:
    own = torch.Generator().manual_seed(1)
    x = torch.randn(256, 6, generator=own)
    y = torch.stack([x[:, 0].relu() - x[:, 1].relu(), x[:, 2]], 1)
    torch.manual_seed(2)
    run = Recipe(UnitLasso(0.01)).start(nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 2)))
    options = {"lr": 0.1} if optimizer is torch.optim.SGD else {"lr": 0.01, "weight_decay": 0.0}
    stepper = optimizer(run.model.parameters(), **options)
    for _ in range(300):
        run.objective(F.mse_loss(run.model(x), y)).backward()
        run.update(stepper)
    layer = run.model[0]
    rows = torch.cat([layer.weight, layer.bias[:, None]], 1)
    zero = (rows == 0).all(1)
    assert 15 <= int(zero.sum()) <= 38
    assert bool((rows[~zero].norm(dim=1) > 1e-3).all())  # zero or plainly there, nothing in between
    assert F.mse_loss(run.model(x), y).item() < 0.15


def test_it_passes_the_battery_on_convolutions() -> None:
    assert check_regularizer(UnitLasso(2.0), sample=image_sample()).count >= 20


def test_the_layer_before_a_head_that_the_optimizer_does_not_hold_is_thresholded_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    run = Recipe(UnitLasso(50.0)).start(model)
    optimizer = torch.optim.SGD(list(model.parameters())[:-2], lr=0.1)
    run.objective(run.model(torch.randn(8, 4)).square().mean()).backward()
    run.update(optimizer)
    assert not model[2].weight.any()
    assert model[4].weight.all()
