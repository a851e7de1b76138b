"""Recurrent DropConnect: torch's own recurrent layers on masked weights, one mask for all time steps."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise.core.rng import key
from poise.network import RecurrentDropConnect
from poise.testing import check_regularizer
from poise.testing.oracles import rate_p_value
from poise.testing.sequence_networks import PlainRnn

KINDS = [nn.RNN, nn.LSTM, nn.GRU]
pytestmark = pytest.mark.usefixtures("seeded")


def seen_weights(host: nn.Module) -> list[dict[str, Tensor]]:
    """The weights with which the host runs from now on."""
    seen: list[dict[str, Tensor]] = []
    host.register_forward_pre_hook(lambda host, _: seen.append({n: p.detach() for n, p in host._parameters.items()}))
    return seen


def test_battery() -> None:
    check_regularizer(RecurrentDropConnect(0.3))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_torchs_layer_on_the_masked_recurrent_weights(kind: type[nn.RNNBase]) -> None:
    twin = kind(3, 4, num_layers=2, bidirectional=True)
    model, x = RecurrentDropConnect(0.5).network(copy.deepcopy(twin)), torch.randn(5, 2, 3)
    seen = seen_weights(model)
    output, state = model(x)
    for name, weight in twin.named_parameters():
        masked, recurrent = seen[0][name], name.startswith("weight_hh")
        assert torch.equal(masked, torch.where(masked == 0, 0.0, (2 if recurrent else 1) * weight))
        assert bool((masked == 0).any()) == recurrent
        weight.data.copy_(masked)
    expected, expected_state = twin(x)
    assert torch.equal(output, expected)
    assert all(torch.equal(a, b) for a, b in zip(_tensors(state), _tensors(expected_state), strict=True))


def _tensors(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_parameters_through_the_mask(kind: type[nn.RNNBase]) -> None:
    twin = kind(3, 4).double()
    model, x = RecurrentDropConnect(0.5).network(copy.deepcopy(twin)), torch.randn(5, 2, 3, dtype=torch.float64)
    parameters, seen = dict(model.named_parameters()), seen_weights(model)
    model(x)[0].square().sum().backward()
    for name, weight in twin.named_parameters():
        weight.data.copy_(seen[0][name])
    twin(x)[0].square().sum().backward()
    for name, weight in twin.named_parameters():
        slope = torch.where(seen[0][name] == 0, 0.0, 2.0) if name.startswith("weight_hh") else 1.0
        torch.testing.assert_close(parameters[name].grad, weight.grad * slope, rtol=1e-12, atol=1e-12)
        assert model._parameters[name] is parameters[name]


def test_rate_mean_and_variance_are_those_of_the_law_and_a_wrong_rate_is_caught() -> None:
    p, model = 0.3, RecurrentDropConnect(0.3).network(nn.RNN(1, 1000))
    model.weight_hh_l0.data.fill_(1.0)
    seen = seen_weights(model)
    model(torch.zeros(1, 1, 1))
    weight = seen[0]["weight_hh_l0"]
    assert rate_p_value(weight == 0, p) > 1e-6
    assert rate_p_value(weight == 0, p + 0.005) < 1e-6
    assert abs(float(weight.double().mean()) - 1) < 5 * math.sqrt(p / (1 - p) / weight.numel())
    assert abs(float(weight.double().var()) - p / (1 - p)) < 0.01


def test_layers_directions_and_calls_have_masks_of_their_own() -> None:
    model = RecurrentDropConnect(0.5).network(nn.GRU(4, 4, num_layers=2, bidirectional=True))
    seen, x = seen_weights(model), torch.zeros(2, 1, 4)
    model(x)
    model.poise_recurrent_drop_connect.key[2] += 1
    model(x)
    masks = [tuple((w == 0).flatten().tolist()) for one in seen for n, w in one.items() if n.startswith("weight_hh")]
    assert len(set(masks)) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_neutral_evaluation_copies_and_state_are_those_of_the_bare_layer(kind: type[nn.RNNBase]) -> None:
    plain, x = kind(3, 4), torch.randn(5, 2, 3)
    expected, _ = plain(x)
    model = RecurrentDropConnect(0.5).network(copy.deepcopy(plain))
    model(x)
    assert torch.equal(model.eval()(x)[0], expected)
    assert list(model.state_dict()) == list(plain.state_dict())
    twin = copy.deepcopy(model).train()
    twin.poise_recurrent_drop_connect.p.fill_(0.0)
    assert torch.equal(twin(x)[0], expected)


def test_p_one_is_exact_zero_also_for_infinities() -> None:
    model = RecurrentDropConnect(1.0).network(nn.RNN(3, 4))
    model.weight_hh_l0.data.fill_(math.inf)
    seen = seen_weights(model)
    model(torch.randn(5, 2, 3))
    assert torch.equal(seen[0]["weight_hh_l0"], torch.zeros(4, 4))


def test_training_with_an_optimizer_goes_on_from_the_parameters() -> None:
    model = RecurrentDropConnect(0.5).network(nn.LSTM(3, 4))
    optimizer, x = torch.optim.SGD(model.parameters(), lr=0.1), torch.randn(5, 2, 3)
    for step in range(3):
        model.poise_recurrent_drop_connect.key[2] = step
        before = model.weight_hh_l0.detach().clone()
        optimizer.zero_grad()
        model(x)[0].square().sum().backward()
        gradient = model.weight_hh_l0.grad.clone()
        optimizer.step()
        torch.testing.assert_close(model.weight_hh_l0.detach(), before - 0.1 * gradient)


def test_members_are_masked_as_they_would_be_alone(population) -> None:  # type: ignore[no-untyped-def]
    class Outputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = PlainRnn(3, 8, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.recurrent(x)[0]
            return output

    model = RecurrentDropConnect(0.5).network(Outputs()).double()
    x, p = torch.randn(3, 4, 5, 3, dtype=torch.float64), torch.tensor([0.0, 0.5, 1.0])
    out, _, _ = population(model, x, p=p)
    for member in range(3):
        model.recurrent.poise_recurrent_drop_connect.key.copy_(key(0, member))
        model.recurrent.poise_recurrent_drop_connect.p.copy_(p[member])
        torch.testing.assert_close(out[member], model(x[member]), rtol=1e-12, atol=1e-12)
