"""Spectral normalisation: torch's parametrization step by step, and the singular values themselves."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from poise.core.errors import ArgumentError
from poise.core.select import roles_of
from poise.network import SpectralNorm
from poise.testing import check_regularizer

pytestmark = pytest.mark.usefixtures("seeded")

HOSTS = {
    "linear": (lambda: nn.Linear(6, 4), (8, 6)),
    "signals": (lambda: nn.Conv1d(3, 5, 2), (4, 3, 7)),
    "images": (lambda: nn.Conv2d(3, 5, 2), (4, 3, 5, 4)),
}


def used(model: nn.Module, x: Tensor) -> Tensor:
    """The weight with which a host runs on x."""
    seen: list[Tensor] = []
    hook = model.register_forward_pre_hook(lambda host, _: seen.append(host._parameters["weight"].detach()))
    model(x)
    hook.remove()
    return seen[0]


def sigma(weight: Tensor) -> float:
    return float(torch.linalg.svdvals(weight.detach().flatten(1))[0])


def model_of(weight: Tensor, limit: float, iterations: int = 1) -> nn.Linear:
    host = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    host.weight.data.copy_(weight)
    model = SpectralNorm(limit, iterations=iterations).network(host)
    assert isinstance(model, nn.Linear)
    return model


def test_battery() -> None:
    check_regularizer(SpectralNorm(0.5, iterations=100))


@pytest.mark.parametrize("kind", HOSTS)
def test_training_and_evaluation_are_torchs_where_sigma_is_above_one(kind: str) -> None:
    host, shape = HOSTS[kind][0]().double(), HOSTS[kind][1]
    host.weight.data *= 5
    ours, theirs = SpectralNorm().network(copy.deepcopy(host)), spectral_norm(copy.deepcopy(host))
    layer, vectors = ours.poise_spectral_norm, theirs.parametrizations.weight[0]
    layer.left.copy_(vectors._u)
    layer.right.copy_(vectors._v)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.01) for model in (ours, theirs)]
    for _ in range(5):
        x = torch.randn(shape, dtype=torch.float64)
        outputs = []
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            outputs.append(model(x))
            outputs[-1].square().sum().backward()
        torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-11, atol=1e-11)
        original = theirs.parametrizations.weight.original
        torch.testing.assert_close(ours.weight.grad, original.grad, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(layer.left, vectors._u, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(layer.right, vectors._v, rtol=1e-11, atol=1e-11)
        for optimizer in optimizers:
            optimizer.step()
    assert sigma(ours.weight) > 1
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("limit", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("kind", HOSTS)
def test_the_largest_singular_value_used_is_the_limit(kind: str, limit: float) -> None:
    host = HOSTS[kind][0]().double()
    host.weight.data *= 20
    model = SpectralNorm(limit, iterations=300).network(host)
    weight = used(model, torch.randn(HOSTS[kind][1], dtype=torch.float64))
    assert abs(sigma(weight) - limit) < 1e-9 * limit
    torch.testing.assert_close(weight, model.weight.detach() * limit / sigma(model.weight), rtol=1e-9, atol=1e-12)


def test_a_weight_below_the_limit_is_left_as_it_is_to_the_bit() -> None:
    weight = torch.randn(4, 6) * 0.01
    model = model_of(weight, 1.0)
    assert torch.equal(used(model, torch.randn(2, 6)), weight)
    torchs = spectral_norm(nn.Linear(6, 4))
    torchs.parametrizations.weight.original.data.copy_(weight)
    assert sigma(torchs.weight) > 0.5  # torch scales it up


def test_one_iteration_a_step_comes_to_the_largest_singular_value() -> None:
    model, x = model_of(torch.randn(30, 20, dtype=torch.float64), 1.0), torch.randn(2, 20, dtype=torch.float64)
    first = abs(sigma(used(model, x)) - 1)
    for _ in range(300):
        last = used(model, x)
    assert first > 1e-4  # the estimate is from below
    assert abs(sigma(last) - 1) < 1e-9


def test_the_gradient_is_that_of_the_exact_norm_once_the_vectors_have_settled() -> None:
    weight = torch.randn(5, 4, dtype=torch.float64)
    model, x = model_of(weight, 1.0, iterations=2000), torch.randn(3, 4, dtype=torch.float64)
    model(x).sin().sum().backward()
    exact = weight.clone().requires_grad_()
    (x @ (exact / torch.linalg.matrix_norm(exact, 2)).T).sin().sum().backward()
    torch.testing.assert_close(model.weight.grad, exact.grad, rtol=1e-9, atol=1e-9)


def test_evaluation_moves_no_vector_and_training_moves_them() -> None:
    model, x = model_of(torch.randn(5, 4), 1.0), torch.randn(3, 4)
    before = model.poise_spectral_norm.left.clone()
    model.eval()(x)
    assert torch.equal(model.poise_spectral_norm.left, before)
    model.train()(x)
    assert not torch.equal(model.poise_spectral_norm.left, before)


def test_two_forward_passes_before_one_backward_pass() -> None:
    model, x = model_of(torch.randn(5, 4), 1.0), torch.randn(3, 4)
    (model(x).sum() + model(x).square().sum()).backward()
    assert bool(torch.isfinite(model.weight.grad).all())


def test_no_limit_is_the_identity_to_the_bit_with_its_gradient() -> None:
    plain, x = nn.Linear(4, 5), torch.randn(3, 4)
    model = SpectralNorm(math.inf).network(copy.deepcopy(plain))
    for one in (model, plain):
        one(x).square().sum().backward()
    assert torch.equal(model(x), plain(x))
    torch.testing.assert_close(model.weight.grad, plain.weight.grad, rtol=1e-6, atol=1e-6)


def test_a_weight_of_zeros_stays_with_a_finite_gradient() -> None:
    model = model_of(torch.zeros(5, 4), 1.0)
    y = model(torch.randn(3, 4))
    y.sum().backward()
    assert torch.equal(y, torch.zeros(3, 5))
    assert bool(torch.isfinite(model.weight.grad).all())


def test_vectors_are_kept_in_the_state_and_are_no_parameters() -> None:
    model = SpectralNorm().network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    added = [name for name in model.state_dict() if "poise" in name]
    assert added == [f"{place}.poise_spectral_norm.{side}" for place in (0, 2) for side in ("left", "right")]
    assert list(roles_of(model)) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_insertion_leaves_the_global_generator_alone() -> None:
    model, before = nn.Linear(3, 4), torch.get_rng_state()
    SpectralNorm().network(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_members_are_held_each_to_its_own_limit_and_keep_their_own_vectors(population) -> None:  # type: ignore[no-untyped-def]
    model = SpectralNorm().network(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))).double()
    model[0].weight.data *= 5
    x, limits = torch.randn(3, 10, 3, dtype=torch.float64), torch.tensor([0.5, 2.0, math.inf])
    out, grads, buffers = population(model, x, limit=limits)
    for member in range(3):
        alone = copy.deepcopy(model)
        for place in (0, 2):
            alone[place].poise_spectral_norm.limit.fill_(limits[member])
        y = alone(x[member])
        y.square().sum().backward()
        torch.testing.assert_close(out[member], y.detach(), rtol=1e-12, atol=1e-12)
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(grads[name][member], parameter.grad, rtol=1e-10, atol=1e-12)
        for side in ("left", "right"):
            moved = buffers[f"0.poise_spectral_norm.{side}"][member]
            assert not torch.equal(moved, model[0].poise_spectral_norm.get_buffer(side))
            torch.testing.assert_close(moved, alone[0].poise_spectral_norm.get_buffer(side), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("iterations", [0, 1.0, True])
def test_iterations_that_are_no_whole_number_above_zero_are_refused(iterations: object) -> None:
    with pytest.raises(ArgumentError, match=r"`SpectralNorm\.iterations` must be a whole number >= 1; got"):
        SpectralNorm(iterations=iterations)  # type: ignore[arg-type]
