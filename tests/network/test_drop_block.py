"""DropBlock: the paper's pseudocode, written slowly, and the law of its mask."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.network import DropBlock
from poise.network.drop_block import DropBlockLayer
from poise.testing import check_regularizer
from poise.testing.oracles import rate_p_value

pytestmark = pytest.mark.usefixtures("seeded")


def layer(p: float, size: int) -> DropBlockLayer:
    made = DropBlock(p, size=size).layer(nn.ReLU())
    assert isinstance(made, DropBlockLayer)
    return made


def gamma(p: float, size: int, side: int) -> float:
    """Ghiasi et al. 2018, equation 1, for a square map."""
    return p / size**2 * side**2 / (side - size + 1) ** 2


def slowly(x: Tensor, p: float, size: int, label: str) -> Tensor:
    """Algorithm 1 with loops, on the draws that the layer makes."""
    rows, channels, side, _ = x.shape
    corners = side - size + 1
    drawn = Rng(key(0), label).uniform("corner", (rows, channels, corners, corners)) < gamma(p, size, side)
    mask = torch.ones_like(x)
    for b, c, i, j in drawn.nonzero().tolist():
        mask[b, c, i : i + size, j : j + size] = 0
    return x * mask * mask.numel() / mask.sum()


def test_battery() -> None:
    check_regularizer(DropBlock(0.3, size=2))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_it_is_the_papers_algorithm(size: int) -> None:
    one, x = layer(0.3, size), torch.randn(5, 6, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(one(x), slowly(x, float(one.p), size, f"{one.label}/0"), rtol=1e-12, atol=0)


def test_the_rate_of_corners_is_gamma_and_one_without_the_correction_for_the_maps_size_is_caught() -> None:
    p, size, side = 0.3, 3, 8
    # At the map's first corner only the first block's corner counts: a drop there has the rate gamma exactly.
    first = layer(p, size)(torch.ones(1000, 1000, side, side))[..., 0, 0] == 0
    assert rate_p_value(first, gamma(p, size, side)) > 1e-6
    assert rate_p_value(first, p / size**2) < 1e-6


def test_an_inner_value_is_dropped_by_any_of_its_blocks_and_single_values_are_caught() -> None:
    p, size, side = 0.3, 2, 5
    inner = layer(p, size)(torch.ones(1000, 1000, side, side))[..., 2, 2] == 0
    law = 1 - (1 - gamma(p, size, side)) ** (size * size)
    assert rate_p_value(inner, law) > 1e-6
    single = layer(gamma(p, size, side), 1)(torch.ones(1000, 1000, 1, 1))[..., 0, 0] == 0
    assert rate_p_value(single, law) < 1e-6


def test_the_kept_share_is_made_up_for_over_the_whole_batch() -> None:
    y = layer(0.4, 3)(torch.ones(20, 4, 9, 9))
    torch.testing.assert_close(y.mean(), torch.tensor(1.0))
    assert len(set(y.flatten().tolist())) == 2


@pytest.mark.parametrize("positions", [(9,), (9, 6), (4, 5, 6)])
def test_signals_images_and_volumes_lose_blocks(positions: tuple[int, ...]) -> None:
    hit = layer(0.2, 3)(torch.ones(40, 8, *positions)) == 0
    assert hit.any()
    assert not hit.all()
    # Whole blocks, and what they cover: nothing was dropped but by a whole block.
    corners, covered = hit, torch.zeros_like(hit)
    for dim in range(2, hit.dim()):
        corners = corners.unfold(dim, 3, 1).all(-1)
    for shift in itertools.product(range(3), repeat=len(positions)):
        at = covered
        for dim, start in enumerate(shift, 2):
            at = at.narrow(dim, start, corners.shape[dim])
        at |= corners
    assert torch.equal(covered, hit)


def test_a_map_smaller_than_the_block_goes_whole() -> None:
    y = layer(0.5, 7)(torch.ones(50, 10, 3, 4)).flatten(2)
    assert torch.equal(y == 0, (y[..., :1] == 0).expand_as(y))


def test_p_one_is_exact_zero_also_for_infinities_and_p_zero_and_evaluation_are_the_identity() -> None:
    x = torch.tensor([1.5, math.inf, -math.inf, math.nan]).reshape(1, 1, 2, 2)
    for size in (1, 2, 5):
        assert torch.equal(layer(1.0, size)(x), torch.zeros_like(x))
        assert torch.equal(layer(0.0, size)(x[..., 0, :1, None]), x[..., 0, :1, None])
    assert layer(0.5, 2).eval()(x) is x


def test_an_infinity_in_a_block_is_zero_and_outside_stays() -> None:
    y = layer(0.5, 1)(torch.full((1, 100, 2, 2), math.inf))
    assert sorted(set(y.flatten().tolist())) == [0.0, math.inf]


def test_members_drop_blocks_each_at_its_own_rate(population) -> None:  # type: ignore[no-untyped-def]
    model = DropBlock(0.3, size=2).network(nn.Sequential(nn.Conv1d(2, 5, 1), nn.ReLU())).double()
    x = torch.rand(3, 4, 2, 6, dtype=torch.float64)
    p = torch.tensor([0.0, 0.3, 1.0])
    out, _, _ = population(model, x, p=p)
    for member in range(3):
        model[1].poise_drop_block.key.copy_(key(0, member))
        model[1].poise_drop_block.p.copy_(p[member])
        torch.testing.assert_close(out[member], model(x[member]), rtol=1e-12, atol=1e-12)


def test_the_backward_mask_is_the_forward_mask() -> None:
    x = torch.ones(10, 9, 6, requires_grad=True)
    y = layer(0.4, 2)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "7"])
def test_a_size_that_is_no_whole_number_above_zero_is_refused(size: object) -> None:
    with pytest.raises(ArgumentError, match=r"`DropBlock\.size` must be a whole number >= 1; got"):
        DropBlock(size=size)  # type: ignore[arg-type]
