"""A factor for each input: a twin that scales the inputs themselves, the roles, and what it is for."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from poise import Decay, FrontScale, Recipe
from poise.core.select import roles_of, select
from poise.models.tabular import ColumnPlan, TabularNet
from poise.testing import check_regularizer
from poise.train.losses import SquaredError
from poise.train.population import Population, Rows

pytestmark = pytest.mark.usefixtures("seeded")

HOSTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(3, 5), (8, 3)),
    "signals": (lambda: nn.Conv1d(3, 5, 2), (4, 3, 7)),
    "images": (lambda: nn.Conv2d(3, 6, 2), (4, 3, 5, 4)),
    "groups": (lambda: nn.Conv2d(6, 4, 2, groups=2), (4, 6, 5, 4)),
}


class Scaled(nn.Module):
    """The definition: the inputs times 1 + speed f."""

    def __init__(self, host: nn.Module, speed: float, inputs: int) -> None:
        super().__init__()
        self.host, self.speed, self.factor = host, speed, nn.Parameter(torch.zeros(inputs, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        out: Tensor = self.host(x * (1 + self.speed * self.factor).reshape(shape))
        return out


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("kind", HOSTS)
def test_it_trains_as_a_network_whose_inputs_are_scaled(
    kind: str, optimizer: Callable[..., torch.optim.Optimizer]
) -> None:
    host, shape = HOSTS[kind][0]().double(), HOSTS[kind][1]
    ours = FrontScale(2.5).network(copy.deepcopy(host))
    theirs = Scaled(copy.deepcopy(host), 2.5, shape[1])
    x = torch.randn(shape, dtype=torch.float64)
    for model in (ours, theirs):
        steps = optimizer(model.parameters(), lr=0.01)
        for _ in range(6):
            steps.zero_grad()
            model(x).square().sum().backward()
            steps.step()
    assert bool((theirs.factor != 0).all())
    torch.testing.assert_close(ours.poise_front_scale.factor, theirs.factor, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.weight, theirs.host.weight, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-10, atol=1e-12)


def test_battery() -> None:
    check_regularizer(FrontScale(4.0))


def test_a_table_s_columns_have_one_factor_each() -> None:
    plan = ColumnPlan((0, 1, 2, 2, 2), ("numeric", "numeric", "category"))
    edges = torch.linspace(-2, 2, 4).expand(2, 4).contiguous()
    model = FrontScale(2.0).network(TabularNet(plan, 1, width=4, depth=1, edges=edges)).double()
    layer, x = model.blocks[0][0].poise_front_scale, torch.randn(6, 5, dtype=torch.float64)
    before = model(x)
    assert layer.factor.shape == (3,)
    layer.factor.data = torch.tensor([0.0, -0.5, 0.0], dtype=torch.float64)  # 1 + 2 x -0.5: out of the network
    asked = x.clone()
    asked[:, 1] += 1
    assert torch.equal(model(x), model(asked))
    assert not torch.allclose(model(x), before)
    layer.factor.data.zero_()
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


def test_neutral_is_the_plain_network_to_the_bit() -> None:
    plain, x = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), torch.randn(8, 3)
    model = FrontScale(6.0).network(copy.deepcopy(plain))
    assert torch.equal(model(x), plain(x))  # at the start
    model[0].poise_front_scale.factor.data.fill_(3.0)
    assert not torch.equal(model(x), plain(x))
    model[0].poise_front_scale.speed.fill_(0.0)
    assert torch.equal(model(x), plain(x))


def test_only_the_first_layer_is_scaled_and_its_factors_are_norms() -> None:
    model = FrontScale().network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    roles = roles_of(model)
    assert select(roles, "norms") == ("0.poise_front_scale.factor",)
    assert select(roles, "weights") == ("0.weight", "2.weight")
    model[0].poise_front_scale.factor.data.fill_(7.0)
    twin = FrontScale().network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    twin.load_state_dict(model.state_dict())
    x = torch.randn(5, 2)
    assert torch.equal(twin(x), model(x))


def test_it_finds_the_few_inputs_that_tell_something() -> None:
    """60 inputs, of which two make the target: the test error is far below that of the network without."""
    x = torch.randn(600, 60)
    y = (x[:, :1] * x[:, 1:2] + x[:, :1]) / 2
    population = Population(
        lambda: nn.Sequential(nn.Linear(60, 64), nn.ReLU(), nn.Linear(64, 1)),
        Recipe(FrontScale(), Decay(0.01)), SquaredError(), lr=[1e-2] * 4, members=[0, 1, 0, 1],
        dials={"front_scale.speed": torch.tensor([0.0, 0.0, 12.0, 12.0])},
    )  # fmt: skip
    population.train(Rows(x[:400], y[:400]), 300, 50)
    losses = (population.outputs(x[400:]) - y[400:]).square().mean((1, 2))
    assert float(losses[2:].max()) < 0.5 * float(losses[:2].min())
    scale = (1 + 12 * population.weights()["0.poise_front_scale.factor"][2:]).abs()
    assert float(scale[:, :2].min()) > 3 * float(scale[:, 2:].median())
