"""Cutting dead units: equal outputs, really fewer weights, and everything not understood left alone and listed."""

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import poise
from poise import ArgumentError, BatchNorm, Dropout, HierarchicalLasso, Recipe, UnitLasso
from poise.models.pruning import prune_units
from poise.models.tabular import ColumnPlan, TabularNet


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def settled(module: nn.Module, *shape: int) -> nn.Module:
    """The module with running statistics and norms of its own."""
    for seed in range(3):
        module(draw(*shape, seed=seed))
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.weight.copy_(draw(len(layer.weight), seed=8))
                layer.bias.copy_(draw(len(layer.bias), seed=9))
    return module.eval()


def kill(layer: nn.Module, *units: int) -> None:
    """Make units constant, at their bias."""
    with torch.no_grad():
        layer.weight[list(units)] = 0


def mlp() -> tuple[nn.Module, tuple[int, ...], dict[str, tuple[int, int]]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 7, bias=False), nn.Sigmoid())
    net = nn.Sequential(*net, nn.Linear(7, 2, bias=False))
    kill(net[0], 3, 5)
    kill(net[3], 0, 1, 2, 6)
    return net.eval(), (9, 5), {"0": (8, 6), "3": (7, 3)}


def norms() -> tuple[nn.Module, tuple[int, ...], dict[str, tuple[int, int]]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 7), nn.BatchNorm1d(7), nn.Tanh())
    net = nn.Sequential(*net, nn.Linear(7, 2))
    kill(net[0], 3, 5)
    kill(net[3], 4)
    return settled(net, 9, 5), (9, 5), {"0": (8, 6), "3": (7, 6)}


def convolutions() -> tuple[nn.Module, tuple[int, ...], dict[str, tuple[int, int]]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2))
    net = nn.Sequential(*net, nn.Conv2d(6, 5, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(20, 3))
    kill(net[0], 1, 2)
    kill(net[4], 3)
    return settled(net, 4, 2, 8, 8), (4, 2, 8, 8), {"0": (6, 4), "4": (5, 4)}


class Custom(nn.Module):
    """A forward of its own: functions, methods, a mean over places, a layer in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 6, 3), nn.Conv1d(6, 8, 2)
        self.third, self.last = nn.Linear(8, 9), nn.Linear(9, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.first(x)).tanh()
        hidden = torch.sigmoid(self.second(hidden)).mean(-1)
        answer: torch.Tensor = self.last(F.silu(self.third(hidden)).view(x.size(0), -1))
        return answer


def custom() -> tuple[nn.Module, tuple[int, ...], dict[str, tuple[int, int]]]:
    torch.manual_seed(0)
    net = Custom()
    kill(net.first, 0)
    kill(net.second, 1, 2)
    kill(net.third, 3, 4, 5)
    return net.eval(), (4, 3, 10), {"first": (6, 5), "second": (8, 6), "third": (9, 6)}


def inserted() -> tuple[nn.Module, tuple[int, ...], dict[str, tuple[int, int]]]:
    """A study's network with a recipe's batch norms and dropout in it."""
    torch.manual_seed(0)
    plan = ColumnPlan((0, 1, 2, 2, 2), ("numeric", "numeric", "category"))
    net = Recipe(BatchNorm(), Dropout(0.2)).network(TabularNet(plan, 3, width=12, depth=3, embedding="periodic"))
    net = settled(net, 9, 5)
    kill(net.blocks[0][0], 0, 1, 2)
    kill(net.blocks[2][0], 7)
    return net, (9, 5), {"blocks.0.0": (12, 9), "blocks.2.0": (12, 11)}


NETWORKS = [mlp, norms, convolutions, custom, inserted]


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_outputs_are_equal_and_units_are_gone(make: Callable, dtype: torch.dtype, bound: float) -> None:
    net, shape, widths = make()
    net = net.to(dtype)
    small, report = prune_units(net, draw(2, *shape[1:]).to(dtype))
    x = 3 * draw(50, *shape[1:], seed=5).to(dtype)
    torch.testing.assert_close(small(x), net(x), rtol=bound, atol=bound)
    assert report.widths == widths
    assert report.kept == {}
    assert type(small) is type(net)
    assert report.after == sum(p.numel() for p in small.parameters()) < report.before


@pytest.mark.parametrize("make", NETWORKS)
def test_the_network_given_is_left_as_it_was(make: Callable) -> None:
    net, shape, _ = make()
    net.train()
    before, text = copy.deepcopy(net.state_dict()), repr(net)
    prune_units(net, draw(*shape))
    assert repr(net) == text
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training


@pytest.mark.parametrize("make", NETWORKS)
def test_the_small_network_trains_copies_and_saves(make: Callable) -> None:
    net, shape, _ = make()
    small, _ = prune_units(net, draw(*shape))
    again = copy.deepcopy(small)
    small.train()
    optimizer = torch.optim.Adam(small.parameters(), lr=0.01)
    x = draw(*shape)
    losses = []
    for _ in range(20):
        loss = small(x).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    file = io.BytesIO()
    torch.save(small.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again(x), small.eval()(x))


def test_units_that_nobody_reads_go_too() -> None:
    net, shape, _ = mlp()
    with torch.no_grad():
        net[3].weight[:, 7] = 0
    small, report = prune_units(net, draw(*shape))
    assert report.widths["0"] == (8, 5)
    torch.testing.assert_close(small(draw(*shape)), net(draw(*shape)), rtol=1e-6, atol=1e-6)


def test_a_unit_that_read_only_a_constant_goes_with_it() -> None:
    net, shape, _ = mlp()
    with torch.no_grad():
        net[3].weight[5] = 0
        net[3].weight[5, 3] = 2.0  # unit 3 of the first layer is dead
    small, report = prune_units(net, draw(*shape))
    assert report.widths["3"] == (7, 2)
    torch.testing.assert_close(small(draw(*shape)), net(draw(*shape)), rtol=1e-6, atol=1e-6)


def test_a_layer_without_a_living_unit_keeps_one() -> None:
    net, shape, _ = mlp()
    kill(net[0], *range(8))
    small, report = prune_units(net, draw(*shape))
    assert report.widths["0"] == (8, 1)
    torch.testing.assert_close(small(draw(*shape)), net(draw(*shape)), rtol=1e-6, atol=1e-6)


def test_a_padded_convolution_keeps_channels_with_a_constant_and_drops_zeros() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1), nn.Flatten(), nn.LazyLinear(2))
    x = draw(3, 2, 6, 6)
    net(x)
    kill(net[0], 1)
    with torch.no_grad():
        net[0].bias[1] = 0.5
    small, report = prune_units(net, x)
    assert report.kept == {"0": "1 dead units: a padded or transposed convolution would miss their constants"}
    assert report.widths == {}
    with torch.no_grad():
        net[0].bias[1] = -0.5  # the rectifier makes it 0
    small, report = prune_units(net, x)
    assert report.widths == {"0": (6, 5)}
    torch.testing.assert_close(small(x), net(x), rtol=1e-6, atol=1e-6)


class Odd(nn.Module):
    """Units that meet a sum, a concatenation, a product of theirs, a norm over units, a layer called twice."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.norm, self.wide = nn.LayerNorm(6), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        if self.how == "sum":
            hidden = hidden + self.second(hidden)
        if self.how == "concatenation":
            return self.wide(torch.cat([hidden, hidden], 1))
        if self.how == "norm":
            hidden = self.norm(hidden)
        if self.how == "softmax":
            hidden = hidden.softmax(-1)
        if self.how == "twice":
            hidden = self.second(self.second(hidden))
        return self.last(hidden)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("sum", "a sum"), ("concatenation", "cat"), ("norm", "LayerNorm (norm)"), ("softmax", "softmax")],
)
def test_what_is_not_understood_is_kept_and_listed(how: str, reason: str) -> None:
    net = Odd(how).eval()
    kill(net.first, 2, 3)
    small, report = prune_units(net, draw(5, 4))
    assert report.kept["first"] == f"2 dead units: they meet {reason}"
    assert report.widths == {}
    torch.testing.assert_close(small(draw(5, 4)), net(draw(5, 4)), rtol=0, atol=0)
    assert reason in str(report)


def test_a_layer_that_is_called_twice_is_kept() -> None:
    net = Odd("twice").eval()
    kill(net.first, 2)
    kill(net.second, 3)
    _, report = prune_units(net, draw(5, 4))
    assert set(report.kept) == {"first", "second"}


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_a_forward_that_branches_on_values_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"torch\.fx can trace; got Branching"):
        prune_units(Branching(), draw(5, 4))


def test_inserted_layers_that_change_predictions_are_refused() -> None:
    net = HierarchicalLasso(0.1).network(mlp()[0])
    with torch.no_grad():
        net[0].poise_hierarchical_lasso.skip.fill_(1.0)
    with pytest.raises(ArgumentError, match="with the layers of hierarchical_lasso"):
        prune_units(net, draw(9, 5))


def test_unit_lasso_trains_a_network_that_becomes_small() -> None:
    x = draw(256, 6, seed=1)
    y = torch.stack([x[:, 0].relu() - x[:, 1].relu(), x[:, 2]], 1)
    torch.manual_seed(2)
    run = Recipe(UnitLasso(0.02)).start(nn.Sequential(nn.Linear(6, 60), nn.ReLU(), nn.Linear(60, 2)))
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=0.01, weight_decay=0.0)
    for _ in range(300):
        run.objective(F.mse_loss(run.model(x), y)).backward()
        run.update(optimizer)
    small, report = poise.prune_units(run.model, x)
    torch.testing.assert_close(small(x), run.model(x), rtol=1e-6, atol=1e-6)
    assert report.after < report.before / 2
    assert F.mse_loss(small(x), y).item() < 0.2
