"""The moving average against torch.optim.swa_utils, and against a slow twin in float64."""

from itertools import pairwise

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from poise.average import Ema
from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.testing import check_regularizer


def path(steps: int, dtype: torch.dtype = torch.float32) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"weight": torch.randn(3, 4, generator=generator).to(dtype)} for _ in range(steps + 1)]


def run(part: Ema, points: list[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
    memory, found = part.remember(points[0]), []
    for step, weights in enumerate(points[1:]):
        averaged, memory = part.average(weights, memory, Context(step, Rng(key(0))))
        found.append(averaged["weight"])
    return found


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Ema(0.9)).count >= 17


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.999, 1.0])
def test_without_warmup_it_is_torchs_averaged_model_bit_for_bit(decay: float) -> None:
    points = path(50)
    model = torch.nn.Linear(4, 3, bias=False)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    ours = [points[0]["weight"], *run(Ema(decay, warmup=False), points)]
    for step, weights in enumerate(points):
        model.weight.data.copy_(weights["weight"])
        averaged.update_parameters(model)
        assert torch.equal(averaged.module.weight.data, ours[step]), step


@pytest.mark.parametrize("warmup", [False, True])
def test_decay_zero_is_the_weights_themselves_bit_for_bit(warmup: bool) -> None:
    points = path(20)
    for ours, weights in zip(run(Ema(0.0, warmup=warmup), points), points[1:], strict=True):
        assert torch.equal(ours, weights["weight"])


def test_decay_one_keeps_the_start() -> None:
    points = path(20)
    assert torch.equal(run(Ema(1.0, warmup=False), points)[-1], points[0]["weight"])


def test_warmup_follows_its_formula() -> None:
    points = path(100, torch.float64)
    slow = points[0]["weight"].clone()
    for step, weights in enumerate(points[1:]):
        decay = min(0.9, (1 + step) / (10 + step))
        slow = decay * slow + (1 - decay) * weights["weight"]
    torch.testing.assert_close(run(Ema(0.9), points)[-1], slow, rtol=1e-12, atol=1e-14)


def test_a_bfloat16_model_keeps_moving() -> None:
    start, goal = torch.ones(1, dtype=torch.bfloat16), torch.full((1,), 2.0, dtype=torch.bfloat16)
    found = run(Ema(0.999, warmup=False), [{"weight": start}, *[{"weight": goal}] * 2000])
    assert found[-1].dtype == torch.bfloat16
    assert float(found[-1]) == pytest.approx(2 - 0.999**2000, rel=4e-3)
    assert all(float(a) <= float(b) for a, b in pairwise(found))
    # The same average kept in bfloat16 stands still: the test above would catch it.
    narrow = start.clone()
    for _ in range(2000):
        narrow = torch.lerp(narrow, goal, 1 - 0.999)
    assert float(narrow) < 1.5


def test_weights_written_in_place_do_not_reach_the_average() -> None:
    weights = {"weight": torch.zeros(2)}
    part = Ema(0.5, warmup=False)
    memory = part.remember(weights)
    weights["weight"].fill_(8.0)
    averaged, memory = part.average(weights, memory, Context(0, Rng(key(0))))
    assert averaged["weight"].tolist() == [4.0, 4.0]


def test_members_have_their_own_decay() -> None:
    points = path(5)
    decays = torch.tensor([0.0, 0.5, 0.9])

    def member(decay: torch.Tensor) -> torch.Tensor:
        return run(Ema().at({"decay": decay}), points)[-1]

    together = torch.vmap(member)(decays)
    for index, decay in enumerate(decays):
        torch.testing.assert_close(together[index], member(decay), rtol=1e-6, atol=1e-7)
