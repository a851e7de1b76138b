"""Decoupled decay against torch.optim.AdamW, bit for bit."""

import pytest
import torch

from poise import Cosine, Recipe
from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.testing import check_regularizer
from poise.update import Decay

ROLES = {"w": Role("weight"), "b": Role("bias")}
LR, RATE = 3e-4, 0.05


def start(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "w": torch.randn(8, 5, dtype=dtype, generator=generator),
        "b": torch.randn(8, dtype=dtype, generator=generator),
    }


def slopes(params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: (3 * p).sin() + p for name, p in params.items()}


def train(part: Decay, optimizer_kind, dtype: torch.dtype, after: bool = False, **settings) -> dict[str, torch.Tensor]:
    params = start(dtype)
    optimizer = optimizer_kind(list(params.values()), lr=LR, **settings)
    ctx = Context(0, Rng(key(0)), lr=LR, roles=ROLES)
    for _ in range(200):
        for name, slope in slopes(params).items():
            params[name].grad = slope
        if after:
            optimizer.step()
        for name, value in part.shrink(params, {}, ctx)[0].items():
            params[name].data.copy_(value)
        if not after:
            optimizer.step()
    return params


def adamw(dtype: torch.dtype, foreach: bool) -> dict[str, torch.Tensor]:
    params = start(dtype)
    groups = [{"params": [params["w"]], "weight_decay": RATE}, {"params": [params["b"]], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, foreach=foreach)
    for _ in range(200):
        for name, slope in slopes(params).items():
            params[name].grad = slope
        optimizer.step()
    return params


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Decay(0.3)).count >= 19


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("foreach", [False, True])
def test_before_adam_it_is_adamw_bit_for_bit(foreach: bool, dtype: torch.dtype) -> None:
    ours, reference = train(Decay(RATE), torch.optim.Adam, dtype, foreach=foreach), adamw(dtype, foreach)
    assert torch.equal(ours["w"], reference["w"])
    assert torch.equal(ours["b"], reference["b"])


def test_a_float64_dial_is_rounded_once_too() -> None:
    part = Decay(torch.tensor(RATE, dtype=torch.float64))
    ours, reference = train(part, torch.optim.Adam, torch.float32, foreach=False), adamw(torch.float32, False)
    assert torch.equal(ours["w"], reference["w"])


def test_a_schedule_decays_bfloat16_weights_as_the_number_does() -> None:
    params = {"w": torch.randn(400, 5, generator=torch.Generator().manual_seed(0)).bfloat16()}
    ctx = Context(0, Rng(key(0)), lr=0.01, roles={"w": Role("weight")})
    number, tensor = (Decay(rate).shrink(params, {}, ctx)[0]["w"] for rate in (0.25, torch.tensor(0.25)))
    assert torch.equal(number, tensor)


def test_after_adam_it_would_not_be_adamw() -> None:
    ours = train(Decay(RATE), torch.optim.Adam, torch.float32, after=True, foreach=False)
    assert not torch.equal(ours["w"], adamw(torch.float32, False)["w"])


def test_before_sgd_it_is_sgds_own_l2_weight_decay() -> None:
    ours = train(Decay(RATE), torch.optim.SGD, torch.float64)
    params = start(torch.float64)
    groups = [{"params": [params["w"]], "weight_decay": RATE}, {"params": [params["b"]]}]
    optimizer = torch.optim.SGD(groups, lr=LR)
    for _ in range(200):
        for name, slope in slopes(params).items():
            params[name].grad = slope
        optimizer.step()
    torch.testing.assert_close(ours["w"], params["w"], rtol=1e-12, atol=1e-14)


def test_learning_rate_and_rate_may_differ_by_member() -> None:
    w = torch.ones(1, 1, dtype=torch.float64)

    def member(rate: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
        ctx = Context(0, Rng(key(0)), lr=lr, roles={"w": Role("weight")})
        return Decay().at({"rate": rate}).shrink({"w": w}, {}, ctx)[0]["w"]

    new = torch.vmap(member)(torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.5, 0.5, 0.25]))
    assert new.flatten().tolist() == [1.0, 0.75, 0.875]
    assert new.dtype == torch.float64


def test_a_schedule_is_adamw_whose_weight_decay_moves_and_the_rates_of_groups_are_their_own() -> None:
    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()

    ours, theirs = network(), network()
    schedule = Cosine(0.3, 0.0, steps=20)
    run = Recipe(Decay(schedule, where="all")).start(ours)
    groups = [([0], 1e-2), ([2], 1e-3)]
    own = [torch.optim.AdamW([{"params": model[i].parameters(), "lr": lr} for (i,), lr in groups], weight_decay=0.0)
           for model in (ours, theirs)]  # fmt: skip
    x = torch.randn(16, 5, dtype=torch.float64)
    for step in range(25):
        run.objective(ours(x).square().mean()).backward()
        run.update(own[0])
        for group in own[1].param_groups:
            group["weight_decay"] = float(schedule(step))
        own[1].zero_grad()
        theirs(x).square().mean().backward()
        own[1].step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)
