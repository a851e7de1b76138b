"""DropConnect: the law of the mask in the weights, and that the parameter itself is never touched."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.network import DropConnect, WeightNoise
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square

pytestmark = pytest.mark.usefixtures("seeded")


def model_of(p: float, size: int = 4) -> nn.Sequential:
    model = DropConnect(p).network(nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 2)))
    assert isinstance(model, nn.Sequential)
    return model


def seen_weights(host: nn.Module) -> list[Tensor]:
    """The weights with which the host runs from now on."""
    seen: list[Tensor] = []
    host.register_forward_pre_hook(lambda host, _: seen.append(host._parameters["weight"].detach()))  # type: ignore[union-attr]
    return seen


def test_battery() -> None:
    check_regularizer(DropConnect(0.3))


def test_rate_mean_and_variance_are_those_of_the_law_and_a_wrong_rate_is_caught() -> None:
    p, model = 0.3, model_of(0.3, 1000)
    model[0].weight.data.fill_(1.0)
    seen = seen_weights(model[0])
    model(torch.zeros(1, 1000))
    zeros, count = int((seen[0] == 0).sum()), seen[0].numel()
    assert chi_square([zeros, count - zeros], [p * count, (1 - p) * count]) > 1e-6
    assert chi_square([zeros, count - zeros], [0.305 * count, 0.695 * count]) < 1e-6
    z = (float(seen[0].double().mean()) - 1) / math.sqrt(p / (1 - p) / count)
    assert math.erfc(abs(z) / math.sqrt(2)) > 1e-6
    assert abs(float(seen[0].double().var()) - p / (1 - p)) < 0.01


def test_hidden_weights_are_masked_and_the_output_layer_is_not() -> None:
    model = model_of(1.0)
    hidden, last = seen_weights(model[0]), seen_weights(model[2])
    model(torch.ones(3, 4))
    assert torch.equal(hidden[0], torch.zeros(4, 4))
    assert torch.equal(last[0], model[2].weight)


def test_the_gradient_reaches_the_parameter_through_the_mask() -> None:
    model = model_of(0.5)
    seen = seen_weights(model[0])
    parameter = model[0].weight
    model[:1](torch.ones(1, 4)).sum().backward()
    assert model[0].weight is parameter
    expected = torch.where(seen[0] == 0, 0.0, 2.0)
    assert parameter.grad is not None
    assert torch.equal(parameter.grad, expected)


def test_the_parameter_is_back_after_an_error_in_the_forward_pass() -> None:
    model = model_of(0.5)
    parameter = model[0].weight
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(torch.ones(1, 3))
    assert model[0].weight is parameter


def test_the_parameter_is_back_after_a_forward_pass_that_was_interrupted() -> None:
    model, interrupted = model_of(0.5), iter([True, False])

    def interrupt(*_: object) -> None:
        if next(interrupted):
            raise KeyboardInterrupt

    parameter, seen = model[0].weight, seen_weights(model[0])
    model[0].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(torch.ones(1, 4))
    model(torch.ones(1, 4))
    assert model[0].weight is parameter
    assert torch.equal(seen[1], seen[0])  # masked once, not twice


def test_two_parts_on_one_layer_nest() -> None:
    model = WeightNoise(0.1).network(model_of(0.5))
    parameter, seen = model[0].weight, seen_weights(model[0])
    model(torch.ones(1, 4))
    assert model[0].weight is parameter
    assert not torch.equal(seen[0], parameter)


def test_functional_call_uses_and_gives_back_the_given_weights() -> None:
    model = model_of(0.0)
    x, parameter = torch.ones(1, 4), model[0].weight
    given = {k: torch.zeros_like(v) for k, v in model.named_parameters()}
    assert torch.equal(functional_call(model, given, (x,)), torch.zeros(1, 2))
    assert model[0].weight is parameter


def test_members_are_masked_as_they_would_be_alone(population) -> None:  # type: ignore[no-untyped-def]
    model, p = model_of(0.5), torch.tensor([0.1, 0.6, 0.6])
    x = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = model.double()
    out, grads, _ = population(model, x, p=p)
    for member in range(3):
        alone = copy.deepcopy(model)
        alone[0].poise_drop_connect.key[1] = member
        alone[0].poise_drop_connect.p.fill_(p[member])
        y = alone(x[member])
        y.square().sum().backward()
        torch.testing.assert_close(out[member], y.detach(), rtol=1e-12, atol=1e-12)
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(grads[name][member], parameter.grad, rtol=1e-10, atol=1e-12)


def test_evaluation_state_dict_and_copies_are_those_of_the_bare_model() -> None:
    bare = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    model = DropConnect(0.5).network(copy.deepcopy(bare))
    x = torch.ones(2, 4)
    assert torch.equal(model.eval()(x), bare(x))
    assert list(model.state_dict()) == list(bare.state_dict())
    twin = copy.deepcopy(model).train()
    twin[0].poise_drop_connect.p.fill_(1.0)
    twin(x)
    assert torch.equal(model(x), bare(x))
