"""Group normalisation: torch's own layer, over channels and positions, or over the features of a row."""

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.select import roles_of
from poise.network import GroupNorm
from poise.testing import check_regularizer

pytestmark = pytest.mark.usefixtures("seeded")

HOSTS = {
    "rows": (nn.Linear(3, 6), (8, 6)),
    "signals": (nn.Conv1d(3, 6, 1), (8, 6, 7)),
    "images": (nn.Conv2d(3, 6, 1), (4, 6, 4, 3)),
    "volumes": (nn.Conv3d(3, 6, 1), (2, 6, 2, 3, 2)),
}


def pair(kind: str, groups: int, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    layers = GroupNorm(groups=groups).layer(HOSTS[kind][0]).to(dtype), nn.GroupNorm(groups, 6, dtype=dtype)
    weight, bias = torch.randn(6, dtype=dtype), torch.randn(6, dtype=dtype)
    for layer in layers:
        layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
    return layers


def test_battery() -> None:
    check_regularizer(GroupNorm(0.6, groups=2))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize(("kind", "groups"), [(k, g) for k in HOSTS for g in (1, 2, 6) if (k, g) != ("rows", 6)])
def test_forward_and_backward_are_torchs(kind: str, groups: int, dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = pair(kind, groups, dtype)
    shape = HOSTS[kind][1]
    x, g, results = 1 + 2 * torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype), []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        results.append([y, *torch.autograd.grad((y * g).sum(), [leaf, layer.weight, layer.bias])])
    for mine, other in zip(*results, strict=True):
        assert float((mine - other).detach().abs().max() / other.detach().abs().max()) <= tolerance


@pytest.mark.parametrize("kind", ["signals", "images", "volumes"])
def test_a_group_a_channel_is_torchs_instance_normalisation(kind: str) -> None:
    ours, _ = pair(kind, 6, torch.float64)
    x = torch.randn(HOSTS[kind][1], dtype=torch.float64)
    expected = nn.functional.instance_norm(x, weight=ours.weight, bias=ours.bias, eps=1e-5)
    torch.testing.assert_close(ours(x), expected, rtol=1e-12, atol=1e-12)


def test_features_of_a_sequence_are_normalised_at_each_position() -> None:
    ours, theirs = pair("rows", 2, torch.float64)
    x = torch.randn(4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x.flatten(0, 1)).unflatten(0, (4, 5)), rtol=1e-12, atol=1e-12)


def test_an_unbatched_image_is_a_batch_of_one() -> None:
    ours, theirs = pair("images", 3, torch.float64)
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x[None])[0], rtol=1e-12, atol=1e-12)


def test_share_blends_and_zero_is_the_identity_to_the_bit() -> None:
    ours, theirs = pair("images", 3, torch.float64)
    x = torch.randn(2, 6, 4, 3, dtype=torch.float64)
    ours.share.fill_(0.25)
    torch.testing.assert_close(ours(x), 0.75 * x + 0.25 * theirs(x), rtol=1e-12, atol=1e-12)
    ours.share.fill_(0.0)
    assert torch.equal(ours(x), x)


def test_evaluation_and_one_row_are_as_training() -> None:
    ours, _ = pair("rows", 2, torch.float32)
    x = torch.randn(1, 6)
    assert torch.equal(ours(x), ours.eval()(x))


def test_members_are_normalised_each_by_its_share(population) -> None:  # type: ignore[no-untyped-def]
    model = GroupNorm(groups=2).network(nn.Sequential(nn.Conv1d(2, 4, 1), nn.ReLU(), nn.Conv1d(4, 1, 1))).double()
    x, shares = torch.randn(3, 5, 2, 6, dtype=torch.float64), torch.tensor([0.0, 0.3, 1.0])
    out, _, _ = population(model, x, share=shares)
    for member in range(3):
        model[0].poise_group_norm.share.copy_(shares[member])
        torch.testing.assert_close(out[member], model(x[member]), rtol=1e-12, atol=1e-12)


def test_its_parameters_are_norms() -> None:
    roles = roles_of(GroupNorm(groups=3).network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))))
    assert [roles[f"0.poise_group_norm.{n}"].kind for n in ("weight", "bias")] == ["norm", "norm"]


def test_channels_that_the_groups_do_not_divide_are_refused_by_layer_and_the_model_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.Sequential(nn.Linear(8, 6)), nn.Linear(6, 1))
    with pytest.raises(ArgumentError, match=r"`GroupNorm\.groups` must divide .* got 4 for the 6 channels of '1\.0'"):
        GroupNorm(groups=4).network(model)
    assert not list(model[0].children())


@pytest.mark.parametrize("field", [{"groups": 0}, {"groups": 2.0}, {"groups": True}, {"eps": -1.0}])
def test_structure_outside_its_range_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=rf"`GroupNorm\.{next(iter(field))}` must be"):
        GroupNorm(**field)  # type: ignore[arg-type]


def test_a_linear_layer_inside_a_tensor_of_any_rank_keeps_its_shape() -> None:
    ours, _ = pair("rows", 2, torch.float32)
    x: Tensor = torch.randn(2, 3, 4, 6)
    assert ours(x).shape == x.shape
