"""The terms in whole training steps: a population of one is the plain loop, and batch statistics move once."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import Dropout, HiddenNoise, Recipe
from poise.core.regularizer import Regularizer
from poise.gradient import AdaptiveClip, Centralize, ClipValue, GradientNoise, Sam
from poise.models.tabular import Mlp
from poise.network import ActivationPenalty
from poise.objective import (
    Adversarial,
    ConfidencePenalty,
    Distillation,
    InputGradientPenalty,
    JacobianPenalty,
    Orthogonal,
    PullToStart,
    RDrop,
    SpectralDecoupling,
    VirtualAdversarial,
)
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows
from poise.train.rows import epoch_order

PARTS: list[Regularizer] = [
    Adversarial(0.4, epsilon=0.1),
    ConfidencePenalty(0.3),
    Distillation(0.4, temperature=3.0),
    InputGradientPenalty(0.5),
    JacobianPenalty(0.5, projections=2),
    Orthogonal(0.1),
    PullToStart(0.3, head=0.1),
    RDrop(2.0),
    SpectralDecoupling(0.3),
    VirtualAdversarial(0.7, epsilon=0.5, iterations=2),
    ActivationPenalty(0.1, l2=0.2),
    AdaptiveClip(0.05),
    Centralize(0.7),
    ClipValue(0.01),
    GradientNoise(0.1),
]
NAMES = [part.name for part in PARTS]


def build() -> nn.Module:
    torch.manual_seed(1)
    return Mlp(4, 3, width=6, depth=2).double()


def teacher() -> nn.Module:
    torch.manual_seed(2)
    return Mlp(4, 3, width=6, depth=1).double()


def table() -> Rows:
    own = torch.Generator().manual_seed(0)
    inputs = torch.randn(10, 4, generator=own, dtype=torch.float64)
    return Rows(inputs, F.one_hot(torch.arange(10) % 3, 3).double())


def population(recipe: Recipe) -> Population:
    return Population(
        build, recipe, CrossEntropy(), lr=[1e-2], members=[0], seed=4, classes=3, teacher=teacher()
    )  # fmt: skip


def one_step(run: Any, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor) -> None:
    def closure() -> Tensor:
        x, y = run.batch(inputs, targets)
        out = run.model(x)
        total: Tensor = run.objective(F.cross_entropy(out, y), outputs=out)
        total.backward()
        return total

    run.step(optimizer, closure)


def looped(recipe: Recipe, data: Rows) -> dict[str, Tensor]:
    """The weights after the plain loop over the population's rows, from the population's weights."""
    alike, model = population(recipe), build()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(alike.state.flat.views()[name][0])
    run = recipe.start(model, seed=4, classes=3, teacher=teacher())
    optimizer = torch.optim.Adam(run.model.parameters(), lr=1e-2)
    for epoch in range(2):
        for chosen in epoch_order(alike.state.keys, epoch, len(data))[0].split(5):
            one_step(run, optimizer, data.inputs[chosen], data.targets[chosen])
    return {name: p.detach() for name, p in run.model.named_parameters()}


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("part", PARTS, ids=NAMES)
def test_a_population_of_one_is_the_plain_loop(part: Regularizer) -> None:
    recipe, data = Recipe(part, Dropout(0.2), HiddenNoise(0.1)), table()
    members = population(recipe)
    members.train(data, 4, 5)
    weights = members.state.flat.views()
    for name, p in looped(recipe, data).items():
        torch.testing.assert_close(p, weights[name][0], rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("part", PARTS, ids=NAMES)
def test_it_changes_what_is_learned(part: Regularizer) -> None:
    data, rest = table(), (Dropout(0.2), HiddenNoise(0.1))
    with_it, without = looped(Recipe(part, *rest), data), looped(Recipe(*rest), data)
    assert not all(torch.equal(with_it[name], without[name]) for name in without)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(
    "part", [Adversarial(), InputGradientPenalty(), JacobianPenalty(), RDrop(), VirtualAdversarial(), Sam(0.5)]
)
def test_further_passes_leave_batch_statistics_where_the_first_put_them(part: Regularizer) -> None:
    found = []
    for parts in ((part,), ()):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()
        run = Recipe(Dropout(0.2), *parts).start(model, seed=4, classes=3)
        one_step(run, torch.optim.SGD(model.parameters(), lr=0.1), table().inputs, table().targets)
        found.append(dict(model[1].named_buffers()))
    assert int(found[0]["num_batches_tracked"]) == 1
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("part", [InputGradientPenalty(0.5), JacobianPenalty(0.5), VirtualAdversarial(0.7)])
def test_sam_differentiates_terms_of_second_order_once_more(part: Regularizer) -> None:
    recipe, data = Recipe(part, Sam(0.2)), table()
    members = population(recipe)
    members.train(data, 4, 5)
    for name, p in looped(recipe, data).items():
        torch.testing.assert_close(p, members.state.flat.views()[name][0], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("part", "gradient"),
    [
        (Orthogonal(1.0), lambda w: 4 * w @ (w.T @ w - torch.eye(3, dtype=torch.float64))),
        (PullToStart(1.0, where="all", new_head=False), torch.ones_like),
    ],
    ids=["orthogonal", "pull_to_start"],
)
def test_tied_weights_count_once_and_frozen_ones_do_not(part: Regularizer, gradient: Any) -> None:
    torch.manual_seed(1)
    first, frozen = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    model = nn.Sequential(first, nn.Linear(3, 3, bias=False), frozen).double()
    model[1].weight = first.weight
    frozen.weight.requires_grad_(False)
    run = Recipe(part).start(model)
    with torch.no_grad():
        first.weight.add_(1.0)
        frozen.weight.add_(1.0)
    out = 0 * model(torch.ones(1, 3, dtype=torch.float64)).sum()
    run.objective(out, outputs=out).backward()
    torch.testing.assert_close(first.weight.grad, gradient(first.weight.detach()), rtol=1e-12, atol=1e-12)
