"""Weight standardisation: the formula by hand, and torch's layers on the standardised weight."""

import copy

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.network import WeightStandardization
from poise.testing import check_regularizer

pytestmark = pytest.mark.usefixtures("seeded")

HOSTS = {
    "linear": (lambda: nn.Linear(3, 5), (8, 3)),
    "signals": (lambda: nn.Conv1d(3, 5, 2), (4, 3, 7)),
    "images": (lambda: nn.Conv2d(4, 6, 2, groups=2), (4, 4, 5, 4)),
    "volumes": (lambda: nn.Conv3d(3, 5, 2), (2, 3, 3, 3, 2)),
}


def standardised(weight: Tensor) -> Tensor:
    """Qiao et al. 2019: weight - mean over each filter, divided by its deviation."""
    dims = tuple(range(1, weight.dim()))
    mean = weight.mean(dims, keepdim=True)
    return (weight - mean) / ((weight - mean).square().mean(dims, keepdim=True) + 1e-5).sqrt()


def pair(kind: str) -> tuple[nn.Module, nn.Module]:
    host = HOSTS[kind][0]().double()
    model = WeightStandardization().network(nn.Sequential(copy.deepcopy(host), nn.Linear(1, 1)))
    return model[0], host


def test_battery() -> None:
    check_regularizer(WeightStandardization(0.6))


@pytest.mark.parametrize("kind", HOSTS)
def test_training_and_evaluation_are_torchs_layer_on_the_standardised_weight(kind: str) -> None:
    ours, plain = pair(kind)
    x = torch.randn(HOSTS[kind][1], dtype=torch.float64)
    weight = ours.weight.detach().clone().requires_grad_()
    expected = torch.func.functional_call(plain, {"weight": standardised(weight)}, (x,))
    expected.square().sum().backward()
    y = ours(x)
    y.square().sum().backward()
    torch.testing.assert_close(y, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(ours.weight.grad, weight.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.eval()(x), expected, rtol=1e-11, atol=1e-11)


def test_the_mean_and_scale_of_a_units_weights_do_not_matter() -> None:
    ours, _ = pair("images")
    x = torch.randn(HOSTS["images"][1], dtype=torch.float64)
    ours.weight.data *= 100  # far above eps
    before = ours(x)
    ours.weight.data = 3 * ours.weight.data + torch.randn(6, 1, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(ours(x), before, rtol=1e-6, atol=1e-6)


def test_share_blends_and_zero_is_the_identity_to_the_bit() -> None:
    ours, plain = pair("linear")
    x = torch.randn(8, 3, dtype=torch.float64)
    ours.poise_weight_standardization.share.fill_(0.25)
    blended = 0.75 * plain.weight + 0.25 * standardised(plain.weight)
    torch.testing.assert_close(ours(x), nn.functional.linear(x, blended, plain.bias), rtol=1e-12, atol=1e-12)
    ours.poise_weight_standardization.share.fill_(0.0)
    assert torch.equal(ours(x), plain(x))


def test_the_output_layer_and_units_of_one_input_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(1, 3), nn.Conv1d(3, 3, 1, groups=3), nn.Linear(3, 4), nn.Linear(4, 2))
    assert [path for path, _ in WeightStandardization().find(model)] == ["2"]


def test_the_parameter_itself_stays_and_the_state_is_that_of_the_bare_model() -> None:
    bare = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    model = WeightStandardization().network(copy.deepcopy(bare))
    parameter = model[0].weight
    model(torch.ones(2, 4))
    assert model[0].weight is parameter
    assert torch.equal(parameter, bare[0].weight)
    assert list(model.state_dict()) == list(bare.state_dict())


def test_members_are_standardised_each_by_its_share(population) -> None:  # type: ignore[no-untyped-def]
    model = WeightStandardization().network(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))).double()
    x, shares = torch.randn(3, 10, 3, dtype=torch.float64), torch.tensor([0.0, 0.3, 1.0])
    out, grads, _ = population(model, x, share=shares)
    for member in range(3):
        alone = copy.deepcopy(model)
        alone[0].poise_weight_standardization.share.fill_(shares[member])
        y = alone(x[member])
        y.square().sum().backward()
        torch.testing.assert_close(out[member], y.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(grads["0.weight"][member], alone[0].weight.grad, rtol=1e-10, atol=1e-12)


def test_an_eps_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`WeightStandardization\.eps` must be a finite number > 0; got 0\.0"):
        WeightStandardization(eps=0.0)
