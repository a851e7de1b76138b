"""Stochastic weight averaging against torch.optim.swa_utils and the plain mean."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_swa_multi_avg_fn

from poise.average import Swa
from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.testing import check_regularizer


def path(steps: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 4, dtype=torch.float64, generator=generator).to(dtype) for _ in range(steps)]


def run(part: Swa, points: list[torch.Tensor]) -> list[torch.Tensor]:
    memory, found = part.remember({"weight": points[0]}), []
    for step, weight in enumerate(points):
        averaged, memory = part.average({"weight": weight}, memory, Context(step, Rng(key(0))))
        found.append(averaged["weight"])
    return found


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Swa(1, every=2)).count >= 17


def test_averaging_0_3_6_gives_3() -> None:
    found = run(Swa(0), [torch.tensor([v]) for v in (0.0, 3.0, 6.0)])
    assert [float(v) for v in found] == [0.0, 1.5, 3.0]


@pytest.mark.parametrize(("start", "every"), [(0, 1), (4, 1), (3, 5)])
def test_it_is_torchs_averaged_model_bit_for_bit(start: int, every: int) -> None:
    points = path(40)
    model = torch.nn.Linear(4, 3, bias=False)
    averaged = AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())
    for step, ours in enumerate(run(Swa(start, every), points)):
        if step >= start and (step - start) % every == 0:
            model.weight.data.copy_(points[step])
            averaged.update_parameters(model)
        assert torch.equal(ours, averaged.module.weight.data if step >= start else points[step]), step


@pytest.mark.parametrize(("start", "every"), [(0, 1), (4, 3)])
def test_it_is_the_plain_mean_to_float64s_precision(start: int, every: int) -> None:
    points = path(40, torch.float64)
    found = run(Swa(start, every), points)[-1]
    torch.testing.assert_close(found, torch.stack(points[start::every]).mean(0), rtol=1e-12, atol=1e-14)


def test_share_blends_the_mean_with_the_weights() -> None:
    points = path(10, torch.float64)
    mean = torch.stack(points).mean(0)
    torch.testing.assert_close(run(Swa(0, share=0.25), points)[-1], 0.75 * points[-1] + 0.25 * mean)
    for ours, plain in zip(run(Swa(0, share=0.0), points), points, strict=True):
        assert torch.equal(ours, plain)


def test_before_the_start_and_after_a_run_that_never_got_there_weights_are_plain() -> None:
    points = path(10)
    for ours, plain in zip(run(Swa(100), points), points, strict=True):
        assert torch.equal(ours, plain)


def test_a_bfloat16_mean_is_kept_in_float32() -> None:
    points = [torch.full((1,), 1.0 + step / 128, dtype=torch.bfloat16) for step in range(128)]
    found = run(Swa(0), points)[-1]
    assert found.dtype == torch.bfloat16
    assert float(found) == pytest.approx(float(torch.stack(points).double().mean()), rel=4e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": -1}, r"`Swa.start` must be an int >= 0; got -1"),
        ({"start": 1.5}, r"`Swa.start` must be an int >= 0; got 1.5"),
        ({"start": True}, r"`Swa.start` must be an int >= 0; got True"),
        ({"start": 0, "every": 0}, r"`Swa.every` must be an int >= 1; got 0"),
    ],
)
def test_settings_that_count_no_steps_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Swa(**settings)


def test_members_have_their_own_share() -> None:
    points = path(6)
    shares = torch.tensor([0.0, 0.5, 1.0])
    together = torch.vmap(lambda share: run(Swa(1).at({"share": share}), points)[-1])(shares)
    for index, share in enumerate([0.0, 0.5, 1.0]):
        torch.testing.assert_close(together[index], run(Swa(1, share=share), points)[-1], rtol=1e-6, atol=1e-7)
