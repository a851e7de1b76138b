"""Dropout: the law of its mask, and that forward, backward, evaluation and populations agree about it."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.network import Dropout
from poise.network.dropout import DropoutLayer, dropped
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square

N = 1_000_000
pytestmark = pytest.mark.usefixtures("seeded")


def layer(p: float, seed: int = 0) -> DropoutLayer:
    made = Dropout(p).layer(nn.ReLU())
    assert isinstance(made, DropoutLayer)
    made.key.copy_(key(seed))
    return made


def rate_p_value(mask: Tensor, p: float) -> float:
    zeros = int((mask == 0).sum())
    return chi_square([zeros, mask.numel() - zeros], [p * mask.numel(), (1 - p) * mask.numel()])


def mean_p_value(values: Tensor, mean: float, deviation: float) -> float:
    z = (float(values.double().mean()) - mean) / (deviation / math.sqrt(values.numel()))
    return math.erfc(abs(z) / math.sqrt(2))


def test_battery() -> None:
    check_regularizer(Dropout(0.3))


@pytest.mark.parametrize("p", [0.02, 0.2, 0.5, 0.9])
def test_rate_mean_and_variance_are_those_of_the_law(p: float) -> None:
    y = layer(p)(torch.ones(N))
    assert rate_p_value(y, p) > 1e-6
    assert mean_p_value(y, 1.0, math.sqrt(p / (1 - p))) > 1e-6
    fourth = (1 - p) * (1 / (1 - p) - 1) ** 4 + p - (p / (1 - p)) ** 2  # variance of (y - 1)^2
    assert mean_p_value((y.double() - 1) ** 2, p / (1 - p), math.sqrt(max(fourth, 1e-12))) > 1e-6


def test_a_sampler_half_a_point_off_and_one_without_the_scale_are_caught() -> None:
    wrong = layer(0.205)(torch.ones(N))
    assert rate_p_value(wrong, 0.2) < 1e-6
    unscaled = (layer(0.2)(torch.ones(N)) != 0).float()
    assert mean_p_value(unscaled, 1.0, math.sqrt(0.25)) < 1e-6


def test_units_rows_and_calls_are_dropped_independently() -> None:
    one = layer(0.3)
    first, second = one(torch.ones(1000, 1000)) == 0, one(torch.ones(1000, 1000)) == 0
    for both in (first & second, first[1:] & first[:-1], first[:, 1:] & first[:, :-1]):
        assert rate_p_value((~both).float(), 0.09) > 1e-6
    assert rate_p_value((~(first & first)).float(), 0.09) < 1e-6  # the same mask twice would be caught


def test_members_are_dropped_independently_each_at_its_own_rate(population) -> None:  # type: ignore[no-untyped-def]
    model = Dropout(0.5).network(nn.Sequential(nn.ReLU()))
    p = torch.tensor([0.1, 0.5, 0.5, 1.0])
    out, _, _ = population(model, torch.ones(4, 500, 500), p=p)
    for member in (0, 1, 2):
        assert rate_p_value(out[member], float(p[member])) > 1e-6
    assert rate_p_value((~((out[1] == 0) & (out[2] == 0))).float(), 0.25) > 1e-6
    assert torch.equal(out[3], torch.zeros(500, 500))


def test_a_member_draws_what_it_would_draw_alone(population) -> None:  # type: ignore[no-untyped-def]
    model = Dropout(0.3).network(nn.Sequential(nn.ReLU()))
    x = torch.rand(3, 40, 7, generator=torch.Generator().manual_seed(0))
    out, _, _ = population(model, x)
    for member in range(3):
        model[0].poise_dropout.key.copy_(key(0, member))
        assert torch.equal(out[member], model(x[member]))


def test_the_backward_mask_is_the_forward_mask() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = layer(0.4)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())


def test_evaluation_returns_its_input_itself() -> None:
    x = torch.randn(5, generator=torch.Generator().manual_seed(0))
    assert layer(0.5).eval()(x) is x


def test_neutral_is_the_identity_to_the_bit_and_p_one_is_exact_zero_even_for_infinities() -> None:
    x = torch.tensor([1.5, -2.0, math.inf, -math.inf, math.nan])
    assert torch.equal(layer(0.0)(x[:4]), x[:4])
    assert torch.equal(layer(1.0)(x), torch.zeros(5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_kept_and_the_scale_is_that_of_the_dtype(dtype: torch.dtype) -> None:
    y = layer(0.2)(torch.ones(100, dtype=dtype))
    assert y.dtype == dtype
    exact = 1 / (1 - float(torch.tensor(0.2)))
    assert abs(float(y.max()) - exact) <= 2 * torch.finfo(dtype).eps * exact


def test_margin_is_positive_exactly_where_keep_keeps() -> None:
    rng = Rng(key(3))
    for p in (0.0, 1e-6, 0.25, 0.7, 1 - 1e-6, 1.0):
        assert torch.equal(rng.margin("a", (9, 1001), p) > 0, rng.keep("a", (9, 1001), p))


def test_second_derivatives_pass() -> None:
    margin, p = Rng(key(0)).margin("a", (6,), 0.5), torch.tensor(0.5)
    x = torch.linspace(-1, 1, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: dropped(v.square(), margin, p), (x,))


def test_the_state_dict_is_that_of_the_bare_model_and_copies_are_their_own() -> None:
    bare = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    model = Dropout(0.5).network(copy.deepcopy(bare))
    assert list(model.state_dict()) == list(bare.state_dict())
    twin = copy.deepcopy(model)
    twin[1].poise_dropout.p.fill_(1.0)
    model[0].bias.data.fill_(5.0)  # alive behind the ReLU
    x = torch.ones(50, 2)
    assert torch.equal(twin(x), twin[2].bias.expand(50, 1))
    assert not torch.equal(model(x), model[2].bias.expand(50, 1))


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf, "0.1", True])
def test_a_rate_outside_its_range_is_refused(p: object) -> None:
    with pytest.raises(ArgumentError, match=r"`Dropout\.p` must be in \[0, 1\]; got"):
        Dropout(p)  # type: ignore[arg-type]
