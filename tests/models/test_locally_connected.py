"""Unshared convolution against a loop over places in float64, and against the convolution whose weights it copies."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import L2, ArgumentError, Recipe
from poise.core.select import roles_of
from poise.models import LocallyConnected2d, SmallCnn, unshared

pytestmark = pytest.mark.usefixtures("seeded")

FORMS: list[dict[str, Any]] = [
    {},
    {"padding": 1},
    {"stride": 2, "padding": (1, 0)},
    {"dilation": 2, "bias": False},
    {"padding": "same", "padding_mode": "circular"},
    {"kernel_size": (2, 3), "padding": 1, "padding_mode": "reflect"},
]


def conv(**form: Any) -> nn.Conv2d:
    return nn.Conv2d(2, 3, **({"kernel_size": 3} | form)).double()


def by_places(layer: LocallyConnected2d, padded: Tensor) -> Tensor:
    """The definition: at each place, one product of the patch there with the weights there."""
    height, width = layer.kernel_size
    rows, columns = layer.output_size
    out = torch.empty(len(padded), layer.weight.shape[1], rows, columns, dtype=torch.float64)
    for i, j in itertools.product(range(rows), range(columns)):
        (top, left), (down, across) = (i * layer.stride[0], j * layer.stride[1]), layer.dilation
        patch = padded[:, :, top : top + down * height : down, left : left + across * width : across]
        own = layer.weight[i * columns + j].unflatten(1, (-1, height, width))
        out[:, :, i, j] = torch.einsum("bckl,ockl->bo", patch, own)
        if layer.bias is not None:
            out[:, :, i, j] += layer.bias[:, i, j]
    return out


@pytest.mark.parametrize("form", [form for form in FORMS if "padding_mode" not in form])
def test_equals_the_loop_over_places(form: dict[str, Any]) -> None:
    layer = LocallyConnected2d(2, 3, **({"kernel_size": 3, "input_size": (6, 7)} | form)).double()
    x = torch.randn(4, 2, 6, 7, dtype=torch.float64)
    down, across = form.get("padding", 0) if isinstance(form.get("padding"), tuple) else [form.get("padding", 0)] * 2
    expected = by_places(layer, F.pad(x, (across, across, down, down)))
    assert torch.allclose(layer(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_of_a_convolution_gives_its_outputs_and_comes_back(form: dict[str, Any]) -> None:
    shared = conv(**form)
    layer = LocallyConnected2d.from_conv(shared, (6, 7))
    x = torch.randn(4, 2, 6, 7, dtype=torch.float64)
    assert torch.allclose(layer(x), shared(x), rtol=0, atol=1e-12)
    back = layer.to_conv()
    assert torch.allclose(back(x), shared(x), rtol=0, atol=1e-12)
    assert torch.allclose(back.weight, shared.weight, rtol=0, atol=1e-15)


def test_the_gradient_of_a_shared_weight_is_the_sum_of_its_copies_gradients() -> None:
    shared = conv(padding=1)
    layer = LocallyConnected2d.from_conv(shared, 5)
    x, toward = torch.randn(4, 2, 5, 5, dtype=torch.float64), torch.randn(4, 3, 5, 5, dtype=torch.float64)
    for module in (shared, layer):
        (module(x) * toward).sum().backward()
    copies = layer.weight.grad.sum(0).view_as(shared.weight)
    assert torch.allclose(shared.weight.grad, copies, rtol=0, atol=1e-12)
    assert torch.allclose(shared.bias.grad, layer.bias.grad.sum((1, 2)), rtol=0, atol=1e-12)


def test_each_place_starts_from_weights_of_its_own() -> None:
    layer = LocallyConnected2d(1, 4, 3, 8)
    weight = layer.weight.detach()
    assert float(weight.std(0).min()) > 0.1
    assert float(weight.abs().max()) <= 1 / 3


def test_to_conv_is_the_mean_over_places() -> None:
    layer = LocallyConnected2d(1, 2, 1, (1, 2))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[1.0], [2.0]], [[3.0], [6.0]]]))
    assert layer.to_conv().weight.flatten().tolist() == [2.0, 4.0]


def test_gradients_pass_gradcheck() -> None:
    layer = LocallyConnected2d(1, 2, 2, 3, padding=1).double()
    x = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(layer, {"weight": w}, (x,)), (x, layer.weight)
    )


def test_members_of_a_vmap_are_the_layers_alone() -> None:
    layers = [LocallyConnected2d(2, 3, 3, 5, padding=1) for _ in range(3)]
    stacked, _ = torch.func.stack_module_state(layers)
    x = torch.randn(4, 2, 5, 5)
    together = torch.vmap(lambda own: torch.func.functional_call(layers[0], own, (x,)))(stacked)
    alone = torch.stack([layer(x) for layer in layers])
    assert torch.allclose(together, alone, atol=1e-6)


def test_a_bias_of_three_dimensions_is_a_bias() -> None:
    roles = roles_of(LocallyConnected2d(1, 2, 3, 5))
    assert {name: role.kind for name, role in roles.items()} == {"weight": "weight", "bias": "bias"}


def test_a_penalty_counts_every_copy() -> None:
    shared = SmallCnn(1, 3, width=2, depth=1)
    x = torch.zeros(1, 1, 4, 4)
    one, many = (Recipe(L2(1.0)).start(model).objective(torch.zeros(())) for model in (shared, unshared(shared, x)))
    conv_part = 0.5 * float(shared.features[0].weight.detach().square().sum())
    assert float((many - one).detach()) == pytest.approx(15 * conv_part, rel=1e-5)


def test_unshared_networks_compute_the_same_and_leave_the_model_alone() -> None:
    model = SmallCnn(1, 10, width=4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(3, 1, 8, 8)
    own = unshared(model, x)
    assert torch.allclose(own(x), model(x), atol=1e-5)
    assert [type(m).__name__ for m in own.features if hasattr(m, "weight")] == ["LocallyConnected2d"] * 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert own.training


def test_one_convolution_is_a_model_too() -> None:
    layer = unshared(nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 5, 5))
    assert isinstance(layer, LocallyConnected2d)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LocallyConnected2d(0, 1, 3, 5), "in_channels` must be an int >= 1; got 0"),
        (lambda: LocallyConnected2d(1, 1, 5, 3), "input_size` must hold the kernel"),
        (lambda: LocallyConnected2d(1, 1, 3, 5)(torch.zeros(1, 1, 6, 6)), "must be the images'"),
        (lambda: LocallyConnected2d.from_conv(nn.Conv2d(2, 2, 3, groups=2), 5), "groups=1"),
        (lambda: LocallyConnected2d.from_conv(nn.Linear(2, 2), 5), "must be an nn.Conv2d"),
        (lambda: unshared(nn.Linear(2, 2), torch.zeros(1, 2)), "images of one size"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
