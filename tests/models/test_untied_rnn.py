"""The recurrence without sharing over time against nn.RNN, whose weights it copies."""

from typing import Any

import pytest
import torch
from torch import nn

from poise import ArgumentError
from poise.core.select import roles_of
from poise.models import UntiedRnn

pytestmark = pytest.mark.usefixtures("seeded")


def pair(steps: int = 6) -> tuple[nn.RNN, UntiedRnn]:
    rnn = nn.RNN(2, 3, batch_first=True).double()
    return rnn, UntiedRnn.from_rnn(rnn, steps)


@pytest.mark.parametrize("length", [1, 4, 6])
def test_with_equal_weights_it_is_torchs_rnn(length: int) -> None:
    rnn, own = pair()
    x = torch.randn(5, length, 2, dtype=torch.float64)
    for got, expected in zip(own(x), rnn(x), strict=True):
        assert got.shape == expected.shape
        assert torch.allclose(got, expected, rtol=0, atol=1e-12)


def test_the_gradient_of_a_shared_weight_is_the_sum_of_its_copies_gradients() -> None:
    rnn, own = pair()
    x = torch.randn(5, 6, 2, dtype=torch.float64)
    toward = torch.randn(5, 6, 3, dtype=torch.float64)
    for module in (rnn, own):
        (module(x)[0] * toward).sum().backward()
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        shared, copies = getattr(rnn, f"{name}_l0").grad, getattr(own, name).grad.sum(0)
        assert torch.allclose(shared, copies, rtol=0, atol=1e-12)


def test_a_step_learns_nothing_from_another() -> None:
    own = UntiedRnn(2, 3, steps=4)
    own(torch.randn(1, 4, 2))[0][:, 1].sum().backward()
    assert bool(own.weight_ih.grad[:2].any())
    assert not bool(own.weight_ih.grad[2:].any())


def test_members_of_a_vmap_are_the_networks_alone() -> None:
    nets = [UntiedRnn(2, 3, steps=4) for _ in range(3)]
    stacked, _ = torch.func.stack_module_state(nets)
    x = torch.randn(5, 4, 2)
    together = torch.vmap(lambda own: torch.func.functional_call(nets[0], own, (x,))[0])(stacked)
    assert torch.allclose(together, torch.stack([net(x)[0] for net in nets]), atol=1e-6)


def test_biases_of_two_dimensions_are_biases() -> None:
    kinds = [role.kind for role in roles_of(UntiedRnn(2, 3, steps=4)).values()]
    assert sorted(kinds) == ["bias", "bias", "weight", "weight"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UntiedRnn(2, 3, steps=0), "steps` must be an int >= 1; got 0"),
        (lambda: UntiedRnn(2, 3, steps=4)(torch.zeros(1, 5, 2)), "got 4 for 5"),
        (lambda: UntiedRnn.from_rnn(nn.RNN(2, 3), 4), "batch_first=True"),
        (lambda: UntiedRnn.from_rnn(nn.RNN(2, 3, num_layers=2, batch_first=True), 4), "must be an nn.RNN"),
        (lambda: UntiedRnn.from_rnn(nn.LSTM(2, 3, batch_first=True), 4), "must be an nn.RNN"),  # type: ignore[arg-type]
        (lambda: UntiedRnn.from_rnn(nn.RNN(2, 3, nonlinearity="relu", batch_first=True), 4), "must be an nn.RNN"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
