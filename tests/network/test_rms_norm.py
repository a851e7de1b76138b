"""Root mean square normalisation: torch's own layer, over features of rows and channels of positions."""

import pytest
import torch
from torch import nn

from poise.core.errors import ArgumentError
from poise.core.select import roles_of
from poise.network import RmsNorm
from poise.testing import check_regularizer

pytestmark = pytest.mark.usefixtures("seeded")


def pair(host: nn.Module, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    layers = RmsNorm(eps=1e-3).layer(host.to(dtype)).to(dtype), nn.RMSNorm(5, eps=1e-3, dtype=dtype)
    weight = torch.randn(5, dtype=dtype)
    for layer in layers:
        layer.weight.data = weight.clone()
    return layers


def test_battery() -> None:
    check_regularizer(RmsNorm(0.6))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("host", [nn.Linear(3, 5), nn.Conv1d(3, 5, 1), nn.Conv2d(3, 5, 1)], ids=["rows", "1d", "2d"])
def test_forward_and_backward_are_torchs_over_the_channels(
    host: nn.Module, dtype: torch.dtype, tolerance: float
) -> None:
    ours, theirs = pair(host, dtype)
    shape = {"Linear": (8, 5), "Conv1d": (8, 5, 6), "Conv2d": (4, 5, 3, 2)}[type(host).__name__]
    place = -1 if isinstance(host, nn.Linear) else 1
    x, g, results = 1 + 2 * torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype), []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = layer(leaf) if layer is ours else layer(leaf.movedim(place, -1)).movedim(-1, place)
        results.append([y, *torch.autograd.grad((y * g).sum(), [leaf, layer.weight])])
    for mine, other in zip(*results, strict=True):
        assert float((mine - other).detach().abs().max() / other.detach().abs().max()) <= tolerance


def test_a_row_times_any_number_is_the_same_row() -> None:
    layer, x = RmsNorm(eps=1e-12).layer(nn.Linear(3, 5)).double(), torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(1000 * x), layer(x), rtol=1e-9, atol=1e-9)


def test_share_blends_and_zero_is_the_identity_to_the_bit() -> None:
    ours, theirs = pair(nn.Linear(3, 5), torch.float64)
    x = torch.randn(4, 5, dtype=torch.float64)
    ours.share.fill_(0.25)
    torch.testing.assert_close(ours(x), 0.75 * x + 0.25 * theirs(x), rtol=1e-12, atol=1e-12)
    ours.share.fill_(0.0)
    assert torch.equal(ours(x), x)


def test_evaluation_and_one_row_are_as_training() -> None:
    ours, _ = pair(nn.Linear(3, 5), torch.float32)
    x = torch.randn(1, 5)
    assert torch.equal(ours(x), ours.eval()(x))


def test_its_parameter_is_a_norm() -> None:
    roles = roles_of(RmsNorm().network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))))
    assert roles["0.poise_rms_norm.weight"].kind == "norm"


def test_an_eps_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`RmsNorm\.eps` must be a finite number > 0; got -1\.0"):
        RmsNorm(eps=-1.0)
