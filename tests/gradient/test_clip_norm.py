"""Clipping by global norm against torch.nn.utils.clip_grad_norm_."""

import math

import pytest
import torch

from poise.core.context import Context
from poise.core.dial import check_dial, dials_of
from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.core.schedule import Linear, SwitchOff
from poise.gradient import ClipNorm, GradientNoise, PcGrad, Sam
from poise.testing import check_regularizer

CTX = Context(0, Rng(key(0)))


def grads(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "w": torch.randn(7, 5, dtype=torch.float64, generator=generator).to(dtype),
        "b": torch.randn(5, dtype=torch.float64, generator=generator).to(dtype),
    }


def clip(limit: float | torch.Tensor, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return ClipNorm(limit).gradient(values, {}, CTX)[0]


def test_it_passes_the_battery() -> None:
    assert check_regularizer(ClipNorm(0.5)).count >= 17


@pytest.mark.parametrize("limit", [1e-3, 1.0, 5.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_torchs_clipping(dtype: torch.dtype, limit: float) -> None:
    params = []
    for g in grads(dtype).values():
        params.append(torch.zeros_like(g))
        params[-1].grad = g
    torch.nn.utils.clip_grad_norm_(params, limit)
    for ours, reference in zip(clip(limit, grads(dtype)).values(), params, strict=True):
        assert torch.equal(ours, reference.grad)


def test_common_norm_is_at_most_the_limit() -> None:
    assert float(torch.cat([g.flatten() for g in clip(0.5, grads()).values()]).norm()) == pytest.approx(0.5, rel=1e-5)


def test_gradients_within_the_limit_are_not_touched() -> None:
    for name, g in clip(1e3, grads()).items():
        assert torch.equal(g, grads()[name])


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("limit", [0.5, math.inf])
def test_a_gradient_that_is_not_finite_passes_unchanged(limit: float, bad: float) -> None:
    values = grads() | {"c": torch.tensor([bad, 2.0])}
    for name, g in clip(limit, values).items():
        assert torch.equal(torch.nan_to_num(g, 7.0), torch.nan_to_num(values[name], 7.0))


def test_limit_zero_gives_zeros() -> None:
    assert all(bool((g == 0).all()) for g in clip(0.0, grads()).values())


def test_float16_norm_is_taken_in_float32() -> None:
    new = clip(1.0, {"w": torch.full((4,), 300.0, dtype=torch.float16)})["w"]
    assert new.dtype == torch.float16
    assert new.tolist() == pytest.approx([0.5] * 4, rel=1e-3)


def test_mixed_precisions_share_one_norm() -> None:
    new = clip(1.0, {"a": torch.tensor([3.0], dtype=torch.bfloat16), "b": torch.tensor([4.0], dtype=torch.float64)})
    assert (new["a"].dtype, new["b"].dtype) == (torch.bfloat16, torch.float64)
    assert float(new["a"]) == pytest.approx(0.6, rel=4e-3)
    assert float(new["b"]) == pytest.approx(0.8, rel=1e-6)


def test_each_member_has_its_own_norm_and_limit() -> None:
    stacked = {"w": torch.tensor([[3.0, 4.0], [30.0, 40.0], [math.nan, 1.0]])}

    def member(values: dict[str, torch.Tensor], limit: torch.Tensor) -> dict[str, torch.Tensor]:
        return ClipNorm().at({"limit": limit}).gradient(values, {}, CTX)[0]

    new = torch.vmap(member)(stacked, torch.tensor([math.inf, 5.0, 1.0]))["w"]
    torch.testing.assert_close(new, torch.tensor([[3.0, 4.0], [3.0, 4.0], [math.nan, 1.0]]), equal_nan=True)


@pytest.mark.parametrize("earlier", [GradientNoise(1.0), PcGrad(), Sam(1.0)], ids=lambda part: part.name)
def test_what_leaves_the_stage_is_within_the_limit_whatever_came_before(earlier: Regularizer) -> None:
    first = grads(torch.float64)
    tasks = {"a": first, "b": {name: 1 - 2 * g for name, g in first.items()}}
    total = {name: sum(task[name] for task in tasks.values()) for name in first}
    ctx = Context(0, Rng(key(0)), params=first, tasks=tasks, gradient=lambda there: there)

    def norm_after(*parts: Regularizer) -> float:
        recipe = Recipe(*parts)
        edited, _ = recipe.fold("gradient", total, recipe.remember(first), ctx)
        return float(torch.cat([g.flatten() for g in edited.values()]).norm())

    assert norm_after(earlier) > 1.0, "without clipping it is beyond the limit"
    assert norm_after(ClipNorm(0.5), earlier) == pytest.approx(0.5, rel=1e-5)


def test_no_gradients_at_all_is_legal() -> None:
    assert clip(1.0, {}) == {}


# --- inf as a dial's neutral value: no limit -------------------------------------------------------------------------


def test_no_limit_can_be_written_in_yaml() -> None:
    recipe = Recipe(ClipNorm(math.inf))
    assert "limit: .inf" in recipe.to_yaml()
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@pytest.mark.parametrize("value", [-1.0, -math.inf, math.nan, torch.tensor([1.0, math.nan])])
def test_other_values_that_are_not_numbers_are_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"`ClipNorm.limit` must be a finite number >= 0, or inf for no limit; got"):
        ClipNorm(value)  # type: ignore[arg-type]


def test_a_limit_can_be_switched_off_but_not_faded_to_none() -> None:
    declared = dials_of(ClipNorm)["limit"]
    check_dial("ClipNorm", "limit", declared, SwitchOff(1.0, steps=5, after=math.inf))
    with pytest.raises(ArgumentError, match="must have finite ends"):
        check_dial("ClipNorm", "limit", declared, Linear(1.0, math.inf, steps=5))
    with pytest.raises(
        ArgumentError, match=r"0 is the strongest limit, not none: write SwitchOff\(..., after=math.inf\)"
    ):
        ClipNorm(SwitchOff(1.0, steps=5))  # every gradient would be 0 from then on
