"""Layer normalisation: torch's own layer, over features of rows and channels of positions."""

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.select import roles_of
from poise.network import LayerNorm
from poise.testing import check_regularizer

pytestmark = pytest.mark.usefixtures("seeded")


def randn(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pair(host: nn.Module, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    layers = LayerNorm().layer(host.to(dtype)).to(dtype), nn.LayerNorm(5, dtype=dtype)
    for layer in layers:
        layer.weight.data, layer.bias.data = randn((5,), 1, dtype), randn((5,), 2, dtype)
    return layers


def test_battery() -> None:
    check_regularizer(LayerNorm(0.6))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("host", [nn.Linear(3, 5), nn.Conv1d(3, 5, 1), nn.Conv2d(3, 5, 1)], ids=["rows", "1d", "2d"])
def test_forward_and_backward_are_torchs_over_the_channels(
    host: nn.Module, dtype: torch.dtype, tolerance: float
) -> None:
    ours, theirs = pair(host, dtype)
    shape = {"Linear": (8, 5), "Conv1d": (8, 5, 6), "Conv2d": (4, 5, 3, 2)}[type(host).__name__]
    place = -1 if isinstance(host, nn.Linear) else 1
    results = []
    for layer in (ours, theirs):
        x = (1 + 2 * randn(shape, 3, dtype)).requires_grad_()
        y = layer(x) if layer is ours else layer(x.movedim(place, -1)).movedim(-1, place)
        loss = (y * randn(shape, 4, dtype)).sum()
        results.append([y, *torch.autograd.grad(loss, [x, layer.weight, layer.bias])])
    for mine, other in zip(*results, strict=True):
        assert float((mine - other).detach().abs().max() / other.detach().abs().max()) <= tolerance


def test_share_blends_and_zero_is_the_identity_to_the_bit() -> None:
    ours, theirs = pair(nn.Linear(3, 5), torch.float64)
    x = randn((4, 5), 0, torch.float64)
    ours.share.fill_(0.25)
    torch.testing.assert_close(ours(x), 0.75 * x + 0.25 * theirs(x), rtol=1e-12, atol=1e-12)
    ours.share.fill_(0.0)
    assert torch.equal(ours(x), x)


def test_evaluation_and_one_row_are_as_training() -> None:
    ours, _ = pair(nn.Linear(3, 5), torch.float32)
    x = randn((1, 5))
    assert torch.equal(ours(x), ours.eval()(x))


def test_its_parameters_are_norms() -> None:
    model = LayerNorm().network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    roles = roles_of(model)
    assert [roles[f"0.poise_layer_norm.{n}"].kind for n in ("weight", "bias")] == ["norm", "norm"]


def test_an_eps_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`LayerNorm\.eps` must be a finite number > 0; got -1\.0"):
        LayerNorm(eps=-1.0)
