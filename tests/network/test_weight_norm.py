"""Weight normalisation: torch's parametrization forward, backward and along training; the gain as a parameter."""

import copy
import io
import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from poise.core.recipe import Recipe
from poise.core.select import roles_of, select
from poise.network import DropConnect, WeightNorm
from poise.testing import check_regularizer
from poise.train.losses import CrossEntropy
from poise.train.population import Population
from poise.train.rows import Rows

pytestmark = pytest.mark.usefixtures("seeded")

HOSTS = {
    "linear": (lambda: nn.Linear(3, 5), (8, 3)),
    "signals": (lambda: nn.Conv1d(3, 5, 2), (4, 3, 7)),
    "images": (lambda: nn.Conv2d(4, 6, 2, groups=2), (4, 4, 5, 4)),
    "volumes": (lambda: nn.Conv3d(3, 5, 2), (2, 3, 3, 3, 2)),
}


def pair(kind: str) -> tuple[nn.Module, nn.Module]:
    host = HOSTS[kind][0]().double()
    return WeightNorm().network(copy.deepcopy(host)), weight_norm(copy.deepcopy(host))


def test_battery() -> None:
    check_regularizer(WeightNorm(0.6))


@pytest.mark.parametrize("kind", HOSTS)
def test_training_and_evaluation_are_torchs(kind: str) -> None:
    ours, theirs = pair(kind)
    mine = [ours.poise_weight_norm.gain, ours.weight, ours.bias]
    other = [theirs.parametrizations.weight.original0, theirs.parametrizations.weight.original1, theirs.bias]
    optimizers = [torch.optim.SGD(parameters, lr=0.01) for parameters in (mine, other)]
    x = torch.randn(HOSTS[kind][1], dtype=torch.float64)
    for _ in range(5):
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            model(x).square().sum().backward()
        for a, b in zip(mine, other, strict=True):
            torch.testing.assert_close(a.grad, b.grad.reshape(a.shape), rtol=1e-11, atol=1e-12)
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b.reshape(a.shape), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-11, atol=1e-12)
    assert not torch.equal(ours.weight.norm(dim=1), ours.poise_weight_norm.gain)  # the two went apart


def test_the_network_is_at_first_the_one_that_it_was() -> None:
    plain = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    x = torch.randn(8, 3, dtype=torch.float64)
    torch.testing.assert_close(WeightNorm().network(copy.deepcopy(plain))(x), plain(x), rtol=1e-12, atol=1e-12)


def test_the_length_of_the_weights_does_not_matter() -> None:
    ours, _ = pair("linear")
    x = torch.randn(8, 3, dtype=torch.float64)
    before = ours(x)
    ours.weight.data *= torch.rand(5, 1, dtype=torch.float64) + 0.5
    torch.testing.assert_close(ours(x), before, rtol=1e-12, atol=1e-12)


def test_share_blends_and_zero_is_the_identity_to_the_bit() -> None:
    ours, theirs = pair("linear")
    plain, x = nn.Linear(3, 5).double(), torch.randn(8, 3, dtype=torch.float64)
    plain.load_state_dict({"weight": ours.weight, "bias": ours.bias})
    for model in (ours.poise_weight_norm.gain, theirs.parametrizations.weight.original0):
        model.data.mul_(2)
    ours.poise_weight_norm.share.fill_(0.25)
    expected = 0.75 * plain(x) + 0.25 * theirs(x)
    torch.testing.assert_close(ours(x), expected, rtol=1e-12, atol=1e-12)
    ours.poise_weight_norm.share.fill_(0.0)
    assert torch.equal(ours(x), plain(x))


def test_a_unit_whose_weights_are_all_zero_stays_zero_and_its_gradient_finite() -> None:
    model = WeightNorm().network(nn.Linear(3, 2))
    model.weight.data[0] = 0
    model.poise_weight_norm.gain.data.fill_(3.0)
    y = model(torch.randn(4, 3))
    y.sum().backward()
    assert torch.equal(y[:, 0], model.bias[0].expand(4))
    assert bool(torch.isfinite(model.weight.grad).all())


def test_the_gain_is_a_norm_that_decay_leaves_alone_and_the_state_holds() -> None:
    model = WeightNorm().network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    roles = roles_of(model)
    assert select(roles, "norms") == ("0.poise_weight_norm.gain", "2.poise_weight_norm.gain")
    assert select(roles, "weights") == ("0.weight", "2.weight")
    assert [roles[name].inputs for name in ("0.weight", "2.weight")] == [True, False]
    model[0].poise_weight_norm.gain.data.fill_(7.0)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    twin = WeightNorm().network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    twin.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(5, 2)
    assert torch.equal(twin(x), model(x))


def test_noise_in_weights_comes_after_it() -> None:
    model = Recipe(DropConnect(0.5), WeightNorm()).network(nn.Sequential(nn.Linear(100, 1), nn.Linear(1, 1)))
    seen: list[float] = []
    model[0].register_forward_pre_hook(lambda host, _: seen.append(float(host._parameters["weight"].detach().norm())))
    model[0].poise_weight_norm.gain.data.fill_(1.0)
    model(torch.ones(1, 100))
    assert abs(seen[0] - math.sqrt(2)) < 0.5  # masked, doubled, and not brought back to length 1
    assert abs(seen[0] - 1) > 1e-3


def test_a_population_trains_the_gains_each_member_as_alone() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))

    data = Rows(torch.randn(40, 3), torch.eye(2)[torch.arange(40) % 2])
    shares = torch.tensor([1.0, 0.5, 0.0])
    together = Population(
        build, Recipe(WeightNorm()), CrossEntropy(), lr=[0.1] * 3, dials={"weight_norm.share": shares}
    )
    together.train(data, 5, 8)
    for member in range(3):
        recipe = Recipe(WeightNorm(float(shares[member])))
        alone = Population(build, recipe, CrossEntropy(), lr=[0.1], members=[member])
        start = alone.weights()["0.poise_weight_norm.gain"].clone()
        alone.train(data, 5, 8)
        for name, weight in alone.weights().items():
            torch.testing.assert_close(together.weights()[name][member], weight[0], rtol=1e-5, atol=1e-5)
        assert torch.equal(alone.weights()["0.poise_weight_norm.gain"], start) == (member == 2)
