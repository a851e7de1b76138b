"""Spatial dropout: the law of torch's Dropout1d, 2d and 3d, whole channels at a time."""

import math

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.rng import key
from poise.network import Dropout, SpatialDropout
from poise.network.activation_sites import convolution_activations
from poise.testing import check_regularizer
from poise.testing.oracles import mean_p_value, rate_p_value

P = 0.2
pytestmark = pytest.mark.usefixtures("seeded")


def channels(layer: nn.Module) -> Tensor:
    """A million channels of two positions, all 1, through the layer."""
    seen: Tensor = layer(torch.ones(1000, 1000, 2))
    return seen


def whole(y: Tensor) -> Tensor:
    return (y == 0).all(-1)


def test_battery() -> None:
    check_regularizer(SpatialDropout(0.3))


@pytest.mark.parametrize("layer", [SpatialDropout(P).layer(nn.ReLU()), nn.Dropout1d(P)], ids=["ours", "torch"])
def test_rate_of_whole_channels_mean_and_variance_are_those_of_the_law(layer: nn.Module) -> None:
    y = channels(layer)
    assert rate_p_value(whole(y), P) > 1e-6
    assert bool((whole(y) == (y == 0).any(-1)).all())
    assert mean_p_value(y[..., 0], 1.0, math.sqrt(P / (1 - P))) > 1e-6
    assert abs(float(y[..., 0].var()) - P / (1 - P)) < 0.003


def test_wrong_samplers_are_caught() -> None:
    for_each_value = channels(Dropout(P).layer(nn.ReLU()))
    assert rate_p_value(whole(for_each_value), P) < 1e-6
    half_a_point_off = channels(SpatialDropout(P + 0.005).layer(nn.ReLU()))
    assert rate_p_value(whole(half_a_point_off), P) < 1e-6
    without_the_scale = (channels(SpatialDropout(P).layer(nn.ReLU())) != 0).float()
    assert mean_p_value(without_the_scale[..., 0], 1.0, math.sqrt(P / (1 - P))) < 1e-6
    for_all_rows = whole(channels(SpatialDropout(P).layer(nn.ReLU())))[:1].expand(1000, 1000)
    assert rate_p_value(for_all_rows[1:] & for_all_rows[:-1], P * P) < 1e-6


def test_rows_channels_and_calls_are_independent() -> None:
    layer = SpatialDropout(P).layer(nn.ReLU())
    first, second = whole(channels(layer)), whole(channels(layer))
    for both in (first & second, first[1:] & first[:-1], first[:, 1:] & first[:, :-1]):
        assert rate_p_value(both, P * P) > 1e-6


@pytest.mark.parametrize("positions", [(7,), (4, 5), (2, 3, 4)])
def test_signals_images_and_volumes_lose_whole_channels(positions: tuple[int, ...]) -> None:
    y = SpatialDropout(0.5).layer(nn.ReLU())(torch.ones(6, 50, *positions)).flatten(2)
    assert torch.equal(y, y[..., :1].expand_as(y))
    assert sorted(set(y.flatten().tolist())) == [0.0, 2.0]


def test_p_one_is_exact_zero_also_for_infinities_and_p_zero_and_evaluation_are_the_identity() -> None:
    x = torch.tensor([[[1.5, math.inf], [-math.inf, math.nan]]])
    assert torch.equal(SpatialDropout(1.0).layer(nn.ReLU())(x), torch.zeros_like(x))
    assert torch.equal(SpatialDropout(0.0).layer(nn.ReLU())(x[:, :1]), x[:, :1])
    assert SpatialDropout(0.5).layer(nn.ReLU()).eval()(x) is x


def test_a_member_draws_what_it_would_draw_alone(population) -> None:  # type: ignore[no-untyped-def]
    model = SpatialDropout(0.3).network(nn.Sequential(nn.Conv1d(2, 5, 1), nn.ReLU())).double()
    x = torch.rand(3, 4, 2, 6, dtype=torch.float64)
    out, _, _ = population(model, x)
    for member in range(3):
        model[1].poise_spatial_dropout.key.copy_(key(0, member))
        torch.testing.assert_close(out[member], model(x[member]), rtol=1e-12, atol=1e-12)


def test_the_backward_mask_is_the_forward_mask() -> None:
    x = torch.ones(10, 9, 4, requires_grad=True)
    y = SpatialDropout(0.4).layer(nn.ReLU())(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())


def test_sites_are_the_activations_of_convolutions() -> None:
    head = [nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)]
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.ConvTranspose2d(2, 2, 3), nn.GELU(), *head
    )
    assert [path for path, _ in convolution_activations(model)] == ["2", "4"]


def test_it_can_stand_behind_the_convolution_itself_and_nowhere_else() -> None:
    model = SpatialDropout(1.0, where="convolutions").network(nn.Sequential(nn.Conv1d(1, 2, 1), nn.Sigmoid()))
    assert torch.equal(model(torch.ones(1, 1, 3)), torch.full((1, 2, 3), 0.5))
    with pytest.raises(ArgumentError, match=r"`SpatialDropout\.where` must be one of convolution activations"):
        SpatialDropout(where="activations")
