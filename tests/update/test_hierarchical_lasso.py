"""Hierarchical lasso in a network: the skip, the groups, both loops, exact zeros, and the optimum that it reaches."""

import copy
from collections.abc import Callable

import pytest
import torch
from sklearn.linear_model import Lasso
from torch import nn
from torch.nn import functional as F

from poise import ArgumentError, HierarchicalLasso, Recipe
from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role, roles_of
from poise.models.tabular import ColumnPlan, TabularNet
from poise.testing import check_regularizer
from poise.testing.samples import image_sample
from poise.train.losses import SquaredError
from poise.train.population import Population, Rows
from poise.update.hierarchical_threshold import hierarchical_threshold

SKIP = "0.poise_hierarchical_lasso.skip"


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mlp(inputs: int = 6, outputs: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs))


def with_skip(module: nn.Module, part: HierarchicalLasso | None = None) -> nn.Module:
    """The module with a skip of ones."""
    module = (part or HierarchicalLasso(0.1)).network(module)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith(".skip"):
                parameter.fill_(1.0)
    return module


# --- the skip --------------------------------------------------------------------------------------------------------


def test_a_new_skip_adds_nothing_and_is_learned_and_saved() -> None:
    plain = mlp(6, 3)
    module, x = HierarchicalLasso(0.1).network(copy.deepcopy(plain)), draw(5, 6)
    assert torch.equal(module(x), plain(x))
    assert roles_of(module)[SKIP] == Role("weight")
    assert roles_of(module)["0.weight"] == Role("weight", inputs=True)
    assert module.state_dict()[SKIP].shape == (3, 6)
    assert set(module.state_dict()) - set(plain.state_dict()) == {SKIP}


def test_the_skip_adds_a_linear_map_of_the_inputs() -> None:
    plain, x = mlp(6, 3), draw(5, 6)
    torch.testing.assert_close(with_skip(copy.deepcopy(plain))(x), plain(x) + x.sum(1, keepdim=True))


def test_a_copy_has_a_skip_of_its_own() -> None:
    module, x = with_skip(mlp()), draw(5, 6)
    other = copy.deepcopy(module)
    with torch.no_grad():
        dict(module.named_parameters())[SKIP].zero_()
    torch.testing.assert_close(other(x), module(x) + x.sum(1, keepdim=True))


def _flat(module: nn.Module) -> nn.Module:
    return nn.Sequential(*module, nn.Flatten(0))


class _LastStep(nn.Module):
    """A sequence read into one answer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.last(self.first(x).relu()[:, -1])
        return answer


@pytest.mark.parametrize(
    ("module", "shape", "added"),
    [
        (lambda: _flat(mlp()), (5, 6), lambda x: x.sum(1)),
        (lambda: mlp(6, 2), (5, 7, 6), lambda x: x.sum(2, keepdim=True)),
        (_LastStep, (5, 7, 4), lambda x: x.sum(2).mean(1, keepdim=True)),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(16, 2)),
            (5, 3, 3, 3),
            lambda x: x.mean((2, 3)).sum(1, keepdim=True),
        ),
        (lambda: nn.Linear(6, 2), (5, 6), lambda x: x.sum(1, keepdim=True)),
    ],
    ids=["one number a row", "steps", "last step", "channels", "linear"],
)
def test_the_skip_fits_the_outputs(module: Callable[[], nn.Module], shape: tuple[int, ...], added: Callable) -> None:
    plain, x = module(), draw(*shape)
    torch.testing.assert_close(with_skip(copy.deepcopy(plain))(x), plain(x) + added(x))


def test_outputs_that_are_no_numbers_a_unit_are_refused() -> None:
    module = with_skip(nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    with pytest.raises(ArgumentError, match="Select inputs with GroupLasso"):
        module(draw(5, 3, 3, 3))


class _Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        answer = self.first(x)
        return answer, answer


def test_outputs_that_are_no_tensor_are_refused() -> None:
    with pytest.raises(ArgumentError, match="returns one tensor; got tuple"):
        with_skip(_Pair())(draw(5, 6))


def test_it_passes_the_battery_on_convolutions() -> None:
    assert check_regularizer(HierarchicalLasso(2.0, 5.0), sample=image_sample()).count >= 20


# --- the edit of the weights -----------------------------------------------------------------------------------------


def edited(module: nn.Module, part: HierarchicalLasso, columns: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    params = {name: p.detach() for name, p in module.named_parameters()}
    scale = {name: torch.full_like(p, 0.1) for name, p in params.items()}
    ctx = Context(0, Rng(key(0)), params=params, roles=roles_of(module), scale=scale, columns=columns)
    return part.update(params, {}, ctx)[0]


def test_groups_come_from_the_layer_then_from_the_context_then_are_single_columns() -> None:
    part, groups = HierarchicalLasso(2.0, 0.5), torch.tensor([0, 0, 1, 2, 2, 2])
    torch.manual_seed(0)
    module = with_skip(mlp(), part)
    params = {name: p.detach().double() for name, p in module.named_parameters()}
    steps = torch.full((1, 6), 0.1, dtype=torch.float64), torch.full((16, 6), 0.1, dtype=torch.float64)
    strength = torch.tensor(2.0, dtype=torch.float64)

    def expected(groups: torch.Tensor | None) -> torch.Tensor:
        return hierarchical_threshold(params[SKIP], params["0.weight"], *steps, strength, 0.5, groups)[1].float()

    assert torch.equal(edited(module, part)["0.weight"], expected(None))
    assert torch.equal(edited(module, part, groups)["0.weight"], expected(groups))
    module[0].column_groups = tuple(groups.tolist())
    assert torch.equal(edited(module, part, torch.arange(6))["0.weight"], expected(groups))


def test_only_the_two_layers_change() -> None:
    module, part = with_skip(mlp()), HierarchicalLasso(2.0, hierarchy=0.1)
    new = edited(module, part)
    assert {n for n, p in module.named_parameters() if not torch.equal(p, new[n])} == {"0.weight", SKIP}


def test_reported_term_is_the_sum_of_weighted_norms_of_the_skip() -> None:
    module, part = HierarchicalLasso(0.5).network(mlp(6, 3)), HierarchicalLasso(0.5)
    with torch.no_grad():
        dict(module.named_parameters())[SKIP].copy_(draw(3, 6))
    ctx = Context(
        0,
        Rng(key(0)),
        params=dict(module.named_parameters()),
        roles=roles_of(module),
        columns=torch.tensor([0, 0, 1, 2, 2, 2]),
    )
    theta = draw(3, 6)
    slow = 0.5 * (2**0.5 * theta[:, :2].norm() + theta[:, 2].norm() + 3**0.5 * theta[:, 3:].norm())
    torch.testing.assert_close(part.objective({}, {}, ctx)[0]["hierarchical_lasso"], slow)


def test_a_skip_without_its_layer_in_the_optimizer_is_refused() -> None:
    run = Recipe(HierarchicalLasso(0.1)).start(mlp())
    optimizer = torch.optim.SGD([p for n, p in run.model.named_parameters() if n != "0.weight"], lr=0.1)
    run.objective(run.model(draw(5, 6)).square().mean()).backward()
    with pytest.raises(ArgumentError, match=r"must find 0\.weight in the optimizer"):
        run.update(optimizer)


# --- training --------------------------------------------------------------------------------------------------------


def task(rows: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """A target of the first two of six inputs: one linear, one a bend."""
    x = draw(rows, 6, seed=3)
    return x, x[:, :1] + 2 * x[:, 1:2].abs() + 0.1 * draw(rows, 1, seed=4)


def linear(stepper: Callable[[list[nn.Parameter], nn.Parameter], torch.optim.Optimizer]) -> torch.Tensor:
    """The coefficients, skip and weights together, of a linear network trained on all rows at once."""
    x, y = draw(150, 8, seed=5).double(), draw(150, 1, seed=6).double()
    y = 0.5 * y + x[:, :3].sum(1, keepdim=True)
    run = Recipe(HierarchicalLasso(2.0, hierarchy=3.0)).start(nn.Sequential(nn.Linear(8, 1)).double())
    skip = dict(run.model.named_parameters())[SKIP]
    optimizer = stepper([run.model[0].weight, run.model[0].bias], skip)
    for step in range(900):
        if step == 600:
            for group in optimizer.param_groups:
                group["lr"] *= 0.1
        run.objective(F.mse_loss(run.model(x), y)).backward()
        run.update(optimizer)
    # The bound is tight at the optimum, W = 3 theta: a lasso of 4 theta at 2 / 4, or 1 / 4 on half the squared error.
    reference = Lasso(0.25, tol=1e-14, max_iter=100_000).fit(x.numpy(), y[:, 0].numpy())
    found = (run.model[0].weight + skip).detach()[0]
    assert torch.equal(run.model[0].weight != 0, skip != 0)
    assert (found == 0).tolist() == (reference.coef_ == 0).tolist()
    return found - torch.from_numpy(reference.coef_)


STEPPERS = {
    "SGD": lambda own, skip: torch.optim.SGD([*own, skip], lr=0.05),
    "two rates": lambda own, skip: torch.optim.SGD([{"params": own}, {"params": [skip], "lr": 0.2}], lr=0.02),
    "Adam": lambda own, skip: torch.optim.Adam([*own, skip], lr=0.01, betas=(0.9, 0.99)),
    "Adam, two rates": lambda own, skip: torch.optim.Adam([{"params": own}, {"params": [skip], "lr": 2e-3}], lr=0.01),
}


@pytest.mark.parametrize("stepper", STEPPERS)
def test_a_linear_network_ends_at_scikit_learns_lasso(stepper: str) -> None:
    gap = linear(STEPPERS[stepper])
    assert float(gap.abs().max()) < 1e-6


def test_training_keeps_the_inputs_that_matter_and_no_others() -> None:
    x, y = task()
    torch.manual_seed(1)
    run = Recipe(HierarchicalLasso(10.0)).start(mlp())
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=0.01, weight_decay=0.0)
    for _ in range(600):
        run.objective(F.mse_loss(run.model(x), y)).backward()
        run.update(optimizer)
    W, theta = run.model[0].weight, dict(run.model.named_parameters())[SKIP]
    assert (W != 0).any(0).tolist() == [True, True, False, False, False, False]
    assert torch.equal((theta != 0).any(0), (W != 0).any(0))
    assert bool((W.abs().amax(0) <= 10 * theta.norm(dim=0) * (1 + 1e-6)).all())


def test_members_of_a_population_train_as_alone() -> None:
    x, y = task()
    data = Rows(x.double(), y.double())
    strengths = torch.tensor([0.01, 5.0, 1e5], dtype=torch.float64)

    def population(weights: torch.Tensor, members: list[int]) -> Population:
        return Population(
            lambda: mlp().double(),
            Recipe(HierarchicalLasso(0.1)),
            SquaredError(),
            lr=[0.01] * len(members),
            dials={"hierarchical_lasso.weight": weights},
            members=members,
        )

    many = population(strengths, [0, 1, 2])
    many.train(data, 60, 64)
    for m in range(3):
        one = population(strengths[m : m + 1], [m])
        one.train(data, 60, 64)
        for name, values in one.weights().items():
            torch.testing.assert_close(many.weights()[name][m], values[0], rtol=1e-9, atol=1e-11)
    assert not many.weights()["0.weight"][2].any()


def test_embedded_columns_of_a_table_leave_together() -> None:
    plan = ColumnPlan((0, 1, 2, 2, 2), ("numeric", "numeric", "category"))
    module = with_skip(TabularNet(plan, 1, width=8, depth=2, embedding="none"))
    own = next(n for n in dict(module.named_parameters()) if n.endswith(".skip"))
    with torch.no_grad():
        dict(module.named_parameters())[own].copy_(torch.tensor([[3.0, 0.01, 2.0, 0.0, 0.0]]))
        module.blocks[0][0].weight.mul_(1e-3)
    new = edited(module, HierarchicalLasso(2.0))
    assert (new["blocks.0.0.weight"] != 0).any(0).tolist() == [True, False, True, True, True]
