"""Non-negative and unit-norm weights: the nearest such point, reached once, and held through training."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import NonNegative, Recipe, UnitNorm
from poise.testing import check_regularizer
from poise.testing.samples import image_sample


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("part", [NonNegative(), UnitNorm()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(40, 30), (8, 3, 5, 5), (50,)])
def test_a_second_projection_changes_nothing(part, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    once = part.project(draw(*shape, dtype=dtype))
    assert torch.equal(part.project(once), once)


@pytest.mark.parametrize(("part", "nearest"), [(NonNegative(), 0.0), (UnitNorm(), -1.0)])
def test_a_0_d_parameter_is_one_number(part, nearest: float) -> None:
    assert torch.equal(part.project(torch.tensor(-2.0)), torch.tensor(nearest))


def test_non_negative_is_torchs_clamp() -> None:
    w = draw(20, 30)
    assert torch.equal(NonNegative().project(w), w.clamp(min=0))


def test_unit_norm_is_torchs_normalize_and_leaves_zeros() -> None:
    w = draw(20, 30)
    w[3] = 0
    torch.testing.assert_close(UnitNorm().project(w), F.normalize(w, dim=1), rtol=1e-15, atol=1e-16)
    assert not UnitNorm().project(w)[3].any()


@pytest.mark.parametrize(
    ("part", "inside"), [(NonNegative(), lambda w: w.abs()), (UnitNorm(), lambda w: F.normalize(w, dim=1))]
)
def test_no_allowed_point_is_nearer(part, inside) -> None:
    w = draw(3, 4)
    found = part.project(w)
    for seed in range(1, 200):
        other = inside(found + 10 ** (-(seed % 4)) * draw(3, 4, seed=seed))
        assert float((other - w).norm()) >= float((found - w).norm()) - 1e-12


def test_a_share_goes_a_part_of_the_way() -> None:
    w = torch.tensor([[3.0, -4.0]])
    torch.testing.assert_close(NonNegative(0.25).project(w), torch.tensor([[3.0, -3.0]]))
    torch.testing.assert_close(UnitNorm(0.5).project(w), torch.tensor([[1.8, -2.4]]))


def test_both_together_give_directions_of_non_negative_weights() -> None:
    torch.manual_seed(0)
    run = Recipe(UnitNorm(), NonNegative()).start(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1)))
    optimizer = torch.optim.Adam(run.model.parameters(), lr=0.05)
    x = draw(64, 4, dtype=torch.float32)
    for _ in range(30):
        run.objective(F.mse_loss(run.model(x), x[:, :1] - x[:, 1:2])).backward()
        run.update(optimizer)
        for layer in (run.model[0], run.model[2]):
            weight = layer.weight.detach()
            assert bool((weight >= 0).all())
            norms = weight.norm(dim=1)
            torch.testing.assert_close(norms[norms > 0], torch.ones_like(norms[norms > 0]))


@pytest.mark.parametrize("part", [NonNegative(), UnitNorm()])
def test_it_passes_the_battery_on_convolutions(part) -> None:
    assert check_regularizer(part, sample=image_sample()).count >= 18
