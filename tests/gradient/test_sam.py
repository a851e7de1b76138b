"""SAM against an independent two-pass loop, its closed form on a quadratic, and the promises of its second pass."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import L2, Dropout, HiddenNoise, Recipe
from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.gradient import ClipNorm, Sam
from poise.models.tabular import Mlp
from poise.testing import check_regularizer
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows
from poise.train.rows import epoch_order

pytestmark = pytest.mark.usefixtures("seeded")

OPTIMIZERS: list[Callable[[Any], torch.optim.Optimizer]] = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: torch.optim.Adam(p, lr=0.01),
]


def network(*extra: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), *extra, nn.ReLU(), nn.Linear(8, 3)).double()


def rows(step: int) -> tuple[Tensor, Tensor]:
    own = torch.Generator().manual_seed(step)
    return torch.randn(10, 4, generator=own, dtype=torch.float64), torch.arange(10) % 3


def train(run: Any, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):

        def closure(step: int = step) -> Tensor:
            x, y = run.batch(*rows(step))
            out = run.model(x)
            total: Tensor = run.objective(F.cross_entropy(out, y), outputs=out)
            total.backward()
            return total

        run.step(optimizer, closure)


def two_passes(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, rho: float, adaptive: bool) -> None:
    """Foret 2021, algorithm 1 (Kwon 2021, algorithm 1), on the loss plus 0.05 |w|^2 of the weights."""

    def loss() -> Tensor:
        x, y = rows(step)
        return F.cross_entropy(model(x), y) + 0.05 * sum(p.square().sum() for p in model.parameters() if p.dim() > 1)

    params = list(model.parameters())
    size = [p.detach().abs() + 0.01 if adaptive and p.dim() > 1 else torch.ones_like(p) for p in params]
    grads = torch.autograd.grad(loss(), params)
    norm = sum((t * g).square().sum() for t, g in zip(size, grads, strict=True)) ** 0.5
    moves = [rho * t * t * g / norm for t, g in zip(size, grads, strict=True)]
    with torch.no_grad():
        for p, move in zip(params, moves, strict=True):
            p += move
    steep = torch.autograd.grad(loss(), params)
    with torch.no_grad():
        for p, move, g in zip(params, moves, steep, strict=True):
            p -= move
            p.grad = g
    optimizer.step()


@pytest.mark.parametrize("adaptive", [False, True])
def test_it_passes_the_battery(adaptive: bool) -> None:
    assert check_regularizer(Sam(0.3, adaptive=adaptive)).count >= 17


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_twenty_steps_are_those_of_the_two_passes(make: Any, adaptive: bool) -> None:
    rho = 0.5 if adaptive else 0.1
    alone = network()
    theirs = make(alone.parameters())
    run = Recipe(Sam(rho, adaptive=adaptive), L2(0.1)).start(network())
    train(run, make(run.model.parameters()), 20)
    for step in range(20):
        two_passes(alone, theirs, step, rho, adaptive)
    for ours, other in zip(run.model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-8, atol=1e-10)


def test_on_a_quadratic_it_is_the_closed_form() -> None:
    """Of w' H w / 2 the gradient found is H (w + rho H w / |H w|)."""
    root = torch.randn(4, 4, dtype=torch.float64)
    H, w = root @ root.T, torch.randn(4, dtype=torch.float64)
    ctx = Context(0, Rng(key(0)), params={"w": w}, gradient=lambda params: {"w": H @ params["w"]})
    found = Sam(0.3).gradient({"w": H @ w}, {}, ctx)[0]["w"]
    torch.testing.assert_close(found, H @ (w + 0.3 * H @ w / (H @ w).norm()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("adaptive", [False, True])
def test_rho_zero_is_the_run_without_it_bit_for_bit(adaptive: bool) -> None:
    models = []
    for parts in ((), (Sam(0.0, adaptive=adaptive),)):
        run = Recipe(Dropout(0.3), *parts).start(network(nn.BatchNorm1d(8)), seed=3)
        train(run, torch.optim.Adam(run.model.parameters(), lr=0.01), 10)
        models.append(run.model.state_dict())
    assert [name for name in models[0] if not torch.equal(models[0][name], models[1][name])] == []


def test_batch_statistics_move_once_and_by_the_first_pass() -> None:
    statistics = []
    for rho in (0.0, 0.5):
        run = Recipe(Sam(rho)).start(network(nn.BatchNorm1d(8)))
        train(run, torch.optim.SGD(run.model.parameters(), lr=0.1), 1)
        statistics.append(dict(run.model[1].named_buffers()))
    assert int(statistics[1]["num_batches_tracked"]) == 1
    assert all(torch.equal(statistics[0][name], statistics[1][name]) for name in statistics[0])


@pytest.mark.parametrize("layer", ["a part's", "the user's"])
def test_both_passes_have_the_same_masks(layer: str) -> None:
    extra = () if layer == "a part's" else (nn.Dropout(0.5),)
    run = Recipe(Sam(0.5), *(() if extra else (Dropout(0.5),))).start(network(*extra))
    masks: list[Tensor] = []
    run.model[-1].register_forward_pre_hook(lambda _, inputs: masks.append(inputs[0].detach() == 0))
    seen: list[Tensor] = []
    run.model[0].register_forward_hook(lambda *io: seen.append(io[2].detach()))
    train(run, torch.optim.SGD(run.model.parameters(), lr=1e-9), 2)
    assert len(masks) == 4
    assert not torch.equal(seen[0], seen[1])  # at other weights
    alive = (seen[0] > 0) & (seen[1] > 0)  # elsewhere the activation, not the mask, may give 0
    assert torch.equal(masks[0][alive], masks[1][alive])
    later = (seen[0] > 0) & (seen[2] > 0)
    assert not torch.equal(masks[0][later], masks[2][later])  # the next step draws anew


def test_a_member_of_a_population_is_the_run() -> None:
    x, y = rows(0)
    data = Rows(x, F.one_hot(y, 3).double())
    recipe = Recipe(Sam(0.2), HiddenNoise(0.1), L2(0.01), ClipNorm(1.0))

    def build() -> nn.Module:
        torch.manual_seed(1)
        return Mlp(4, 3, width=6, depth=2).double()

    members = Population(build, recipe, CrossEntropy(), lr=[1e-2], members=[0], seed=4, classes=3)
    members.train(data, 4, 5)
    run = recipe.start(build(), seed=4, classes=3)
    optimizer = torch.optim.Adam(run.model.parameters(), lr=1e-2)
    alike = Population(build, recipe, CrossEntropy(), lr=[1e-2], members=[0], seed=4, classes=3)
    with torch.no_grad():
        for name, p in run.model.named_parameters():
            p.copy_(alike.state.flat.views()[name][0])
    for epoch in range(2):
        order = epoch_order(alike.state.keys, epoch, len(data))[0]
        for chosen in order.split(5):

            def closure(chosen: Tensor = chosen) -> Tensor:
                inputs, targets = run.batch(data.inputs[chosen], data.targets[chosen])
                out = run.model(inputs)
                total: Tensor = run.objective(F.cross_entropy(out, targets), outputs=out)
                total.backward()
                return total

            run.step(optimizer, closure)
    for name, p in run.model.named_parameters():
        torch.testing.assert_close(p.detach(), members.state.flat.views()[name][0], rtol=1e-9, atol=1e-11)


def test_a_sparse_gradient_stays_sparse_and_is_the_dense_one() -> None:
    found = []
    for sparse in (True, False):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Embedding(6, 3, sparse=sparse), nn.Flatten(), nn.Linear(6, 1)).double()
        run = Recipe(Sam(0.3, adaptive=True)).start(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        layouts: list[Any] = []
        optimizer.register_step_pre_hook(lambda *_, m=model, seen=layouts: seen.append(m[0].weight.grad.is_sparse))
        for _ in range(3):

            def closure(run: Any = run) -> Tensor:
                total: Tensor = run.objective(run.model(torch.tensor([[0, 2], [2, 5]])).square().mean())
                total.backward()
                return total

            run.step(optimizer, closure)
        assert layouts == [sparse] * 3
        found.append(model[0].weight.detach())
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)


def test_only_weights_and_embeddings_have_an_adaptive_size() -> None:
    params = {"w": torch.tensor([[2.0]]), "b": torch.tensor([2.0]), "n": torch.tensor([2.0])}
    roles = {"w": Role("weight"), "b": Role("bias"), "n": Role("norm")}
    ctx = Context(0, Rng(key(0)), params=params, roles=roles, gradient=lambda params: params)
    found = Sam(1.0, adaptive=True).gradient({name: torch.ones_like(p) for name, p in params.items()}, {}, ctx)[0]
    norm = (2.01**2 + 1 + 1) ** 0.5
    assert float(found["w"]) == pytest.approx(2 + 2.01**2 / norm)
    assert float(found["b"]) == float(found["n"]) == pytest.approx(2 + 1 / norm)


def test_a_gradient_of_zero_moves_nothing() -> None:
    w = {"w": torch.tensor([1.0, 2.0])}
    ctx = Context(0, Rng(key(0)), params=w, gradient=lambda params: params)
    assert torch.equal(Sam(0.5).gradient({"w": torch.zeros(2)}, {}, ctx)[0]["w"], w["w"])


def test_update_without_a_closure_says_what_to_call() -> None:
    run = Recipe(Sam(0.1)).start(network())
    x, y = rows(0)
    run.objective(F.cross_entropy(run.model(x), y)).backward()
    with pytest.raises(ArgumentError, match=r"call `run.step\(optimizer, closure\)`"):
        run.update(torch.optim.SGD(run.model.parameters(), lr=0.1))


def test_under_a_gradient_scaler_the_second_gradient_is_unscaled_too() -> None:
    found = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1000)):
        run = Recipe(Sam(0.3)).start(network())
        optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
        for step in range(3):

            def closure(run: Any = run, step: int = step, scaler: Any = scaler) -> Tensor:
                x, y = run.batch(*rows(step))
                total: Tensor = run.objective(F.cross_entropy(run.model(x), y))
                (total if scaler is None else scaler.scale(total)).backward()
                return total

            run.step(optimizer, closure, scaler)
        found.append(run.model[0].weight.detach())
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)
