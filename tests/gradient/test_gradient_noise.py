"""Noise in gradients against its law and the fall of its variance; a wrong law must be caught."""

import math

import pytest
import torch
from torch import nn

from poise import Recipe
from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.schedule import Linear
from poise.gradient import GradientNoise
from poise.testing import check_regularizer
from poise.testing.oracles import kolmogorov


def context(step: int = 0) -> Context:
    return Context(step, Rng(key(3, 0, step)))


def noise(part: GradientNoise, step: int = 0, count: int = 1_000_000) -> torch.Tensor:
    grads, _ = part.gradient({"w": torch.full((count,), 2.0, dtype=torch.float64)}, {}, context(step))
    return grads["w"] - 2.0


def p_value(values: torch.Tensor, deviation: float) -> float:
    return kolmogorov(0.5 * (1 + torch.erf(values / (deviation * math.sqrt(2)))))


def test_it_passes_the_battery() -> None:
    assert check_regularizer(GradientNoise(0.3, decay=0.4)).count >= 20


@pytest.mark.parametrize("step", [0, 99])
def test_it_is_normal_with_the_variance_of_the_step_and_a_wrong_one_is_caught(step: int) -> None:
    found = noise(GradientNoise(0.09, decay=0.55), step)
    deviation = math.sqrt(0.09 / (1 + step) ** 0.55)
    assert p_value(found, deviation) > 1e-6
    assert p_value(found, 1.02 * deviation) < 1e-6
    own = torch.Generator().manual_seed(0)
    uniform = (torch.rand(1_000_000, generator=own, dtype=torch.float64) - 0.5) * math.sqrt(12) * deviation
    assert p_value(uniform, deviation) < 1e-6  # the same variance, another law


def test_variance_may_be_a_schedule_and_decay_zero_keeps_it() -> None:
    assert float(GradientNoise(0.25, decay=0.0).deviation(1000)) == 0.5
    assert Linear(0.25, 0.0, steps=10).ends() == (0.25, 0.0)
    part = GradientNoise(Linear(0.25, 0.0, steps=10), decay=0.0)
    assert float(part.at({"variance": torch.tensor(0.0)}).deviation(10)) == 0.0


def test_parameters_and_steps_draw_independently() -> None:
    part, zeros = GradientNoise(1.0, decay=0.0), torch.zeros(100_000, dtype=torch.float64)
    first, _ = part.gradient({"a": zeros, "b": zeros}, {}, context())
    second, _ = part.gradient({"a": zeros, "b": zeros}, {}, context(1))
    for one, other in ((first["a"], first["b"]), (first["a"], second["a"])):
        correlation = float((one * other).mean())  # deviation 1 / sqrt(100 000)
        assert math.erfc(abs(correlation) * math.sqrt(100_000 / 2)) > 1e-6
    assert math.erfc(float(first["a"].square().mean()) * math.sqrt(100_000 / 2)) < 1e-6  # one draw twice is caught


def test_a_parameter_gets_the_same_noise_whatever_else_has_a_gradient() -> None:
    part, zeros = GradientNoise(1.0), torch.zeros(5)
    alone, _ = part.gradient({"b": zeros}, {}, context())
    beside, _ = part.gradient({"a": zeros, "b": zeros}, {}, context())
    assert torch.equal(alone["b"], beside["b"])


def test_of_a_sparse_gradient_the_rows_that_occur_get_noise() -> None:
    sparse = torch.sparse_coo_tensor([[4, 1, 4]], torch.ones(3, 2), (6, 2), check_invariants=True)
    grads, _ = GradientNoise(1.0).gradient({"w": sparse}, {}, context())
    assert grads["w"].is_sparse
    moved = (grads["w"].to_dense() != sparse.to_dense()).any(1)
    assert moved.tolist() == [False, True, False, False, True, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept(dtype: torch.dtype) -> None:
    grads, _ = GradientNoise(1.0).gradient({"w": torch.zeros(10_000, dtype=dtype)}, {}, context())
    assert grads["w"].dtype == dtype
    assert float(grads["w"].float().std()) == pytest.approx(1.0, abs=0.05)


def test_processes_of_one_model_draw_the_same_noise() -> None:
    """Their gradients are one mean over processes: other noise in each would pull the weights apart."""
    moved = []
    for rank in (0, 1):
        model = nn.Linear(3, 1, bias=False)
        nn.init.zeros_(model.weight)
        run = Recipe(GradientNoise(1.0)).start(model)
        run.rank, run.world = rank, 2
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        for _ in range(2):
            run.objective(model(torch.ones(1, 3)).sum()).backward()
            run.update(optimizer)
        moved.append(model.weight.detach())
    assert torch.equal(*moved)
    assert len(set(moved[0].flatten().tolist())) == 3
