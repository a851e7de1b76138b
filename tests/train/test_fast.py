"""The step by kernels is the step by `torch.vmap`: same draws, same results to rounding, for many recipes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from poise import (
    L1,
    L2,
    BatchNorm,
    ClipNorm,
    Cosine,
    CutMix,
    Decay,
    Dropout,
    Ema,
    GaussianDropout,
    HiddenNoise,
    InputNoise,
    LabelSmoothing,
    MaxNorm,
    Mixup,
    Recipe,
    Sam,
    SwapNoise,
)  # fmt: skip
from poise.core.blocks import Blocks
from poise.kernels import available, native
from poise.models.tabular import ColumnPlan, Mlp, TabularNet
from poise.train.losses import CrossEntropy, SeveralLosses, SquaredError
from poise.train.optimizers import Adam
from poise.train.population import Population, Rows
from poise.train.rows import Picked

pytestmark = pytest.mark.skipif(not available(), reason="the native kernels are not in use")

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(90, 7, generator=GENERATOR)
Y = nn.functional.one_hot((X[:, 0] > 0).long() + (X[:, 1] > 0).long(), 3).float()
W = torch.rand(90, generator=GENERATOR)
CLASSES = Rows(X, Y)
WEIGHTED = Rows(X, Y, W)

EVERY = Recipe(
    BatchNorm(0.4), Dropout(0.3), HiddenNoise(0.2), Mixup(0.5), LabelSmoothing(0.1), ClipNorm(0.3), Decay(0.1),
    L1(1e-3), L2(1e-3), Ema(0.9),
)  # fmt: skip


def mlp(activation: str = "relu", **rest: Any) -> Callable[[], nn.Module]:
    return lambda: Mlp(7, 3, **({"width": 33, "depth": 2} | rest), activation=activation)


def table_net(residual: bool, embed_above: int, embedding: str = "piecewise") -> Callable[[], nn.Module]:
    plan = ColumnPlan((0, 1, 2, 2, 2, 2, 3), ("numeric", "numeric", "category", "numeric"))
    edges = torch.linspace(-2, 2, 9).expand(3, 9).contiguous()
    return lambda: TabularNet(
        plan, 3, width=16, residual=residual, embed_above=embed_above, edges=edges, embedding=embedding
    )


def both(
    build: Callable[[], nn.Module], recipe: Recipe, loss: Any = None, data: Rows = CLASSES, steps: int = 1, **rest: Any
) -> tuple[list[Population], list[dict[str, torch.Tensor]]]:
    """Train by kernels and by vmap."""
    populations, terms = [], []
    for on in (True, False):
        with native(on):
            dials = {key: torch.linspace(0.2, 1.1, 3) * value for key, value in recipe.dials().items()
                     if isinstance(value, float) and "share" not in key}  # fmt: skip
            one = Population(
                # With its usual eps, Adam makes whole steps of gradients that are rounding alone.
                build, recipe, loss or CrossEntropy(), lr=[1e-2, 2e-2, 1e-3], seed=4, dials=dials,
                optimizer=Adam(eps=1e-2), **({"classes": 3} | rest),
            )  # fmt: skip
            terms.append(one.train(data, steps, 20))
            populations.append(one)
    return populations, terms


def is_fast(population: Population) -> bool:
    return any(ready is not None for ready in population.program.fast._read.values())


def assert_alike(populations: list[Population], terms: list[dict[str, torch.Tensor]]) -> None:
    fast, slow = populations
    assert terms[0].keys() == terms[1].keys()
    for name in terms[0]:
        torch.testing.assert_close(terms[0][name], terms[1][name], rtol=1e-5, atol=1e-6)
    for name, buffer in fast.state.buffers.items():
        torch.testing.assert_close(buffer, slow.state.buffers[name], rtol=1e-5, atol=1e-6)
    for ours, theirs in ((fast.state.flat.views(), slow.state.flat.views()), (fast.weights(), slow.weights()),
                         (fast.state.flat.named(fast.state.optimizer["second"]),
                          slow.state.flat.named(slow.state.optimizer["second"]))):  # fmt: skip
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("activation", ["relu", "selu", "silu", "mish", "gelu"])
@pytest.mark.parametrize("data", [CLASSES, WEIGHTED])
def test_all_known_parts_together(activation: str, data: Rows) -> None:
    populations, terms = both(mlp(activation), EVERY, data=data)
    assert is_fast(populations[0])
    assert not is_fast(populations[1])
    assert_alike(populations, terms)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(BatchNorm()),
        Recipe(Dropout(0.9)),
        Recipe(HiddenNoise(2.0)),
        Recipe(Mixup(1.0, share=0.5, majority=True)),
        Recipe(LabelSmoothing(0.3)),
        Recipe(Dropout(Cosine(0.5, 0.1, steps=3)), Decay(Cosine(0.5, 0.1, steps=3))),
        Recipe(Ema(0.9, warmup=False), L1(0.1, where="all"), Decay(2.0, where="all")),
        Recipe(L1(0.01, subgradient=True), ClipNorm(0.1), L2(0.1)),
        # parts without a kernel stand between those that have one
        Recipe(SwapNoise(0.2), Mixup(0.4), Dropout(0.1)),
        Recipe(InputNoise(0.2), CutMix(0.5), LabelSmoothing(0.1)),
        Recipe(MaxNorm(0.5), Ema(0.9), Decay(0.1)),
        Recipe(Sam(0.05), ClipNorm(1.0), BatchNorm()),
    ],
    ids=repr,
)
def test_recipes_of_known_and_other_parts(recipe: Recipe) -> None:
    populations, terms = both(mlp(), recipe, steps=2)
    assert is_fast(populations[0])
    assert_alike(populations, terms)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("embed_above", [2, 9])
@pytest.mark.parametrize("embedding", ["piecewise", "periodic", "none"])
def test_networks_for_tables(residual: bool, embed_above: int, embedding: str) -> None:
    populations, terms = both(
        table_net(residual, embed_above, embedding), Recipe(BatchNorm(), Dropout(0.2), Mixup(0.4))
    )
    assert is_fast(populations[0])
    assert_alike(populations, terms)


def test_class_weights_and_several_losses_with_missing_labels() -> None:
    blocks = Blocks((2, None), presence=True)
    losses = SeveralLosses(("a", "b"), blocks, (CrossEntropy(torch.tensor([0.5, 2.0])), SquaredError()))
    known = (torch.rand(90, 2, generator=GENERATOR) < 0.7).float()
    labels = torch.cat([Y[:, :2] * known[:, :1], X[:, 2:3] * known[:, 1:], known], dim=1)
    populations, terms = both(mlp(), Recipe(Dropout(0.2), Mixup(0.4)), losses, Rows(X, labels, W), classes=None,
                              blocks=blocks)  # fmt: skip
    assert is_fast(populations[0])
    assert set(terms[0]) == {"data/a", "data/b"}
    assert_alike(populations, terms)


@pytest.mark.parametrize("targets", [X[:, 0], X[:, :1]])
def test_regression(targets: torch.Tensor) -> None:
    build = lambda: Mlp(7, 1, width=16, depth=1)  # noqa: E731  # as Population takes it
    populations, terms = both(build, EVERY.without("label_smoothing"), SquaredError(), Rows(X, targets), classes=None)
    assert_alike(populations, terms)


def test_one_thread_and_four_give_the_same_bits() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            population = Population(mlp(), EVERY, CrossEntropy(), lr=[1e-3] * 9, classes=3)
            population.train(CLASSES, 3, 20)
            found.append(population.state.flat.data)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


class Own(Mlp):
    """A user's subclass: its forward is not what the links say."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.layers(x)


def tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(7, 7), nn.Linear(7, 7), nn.Linear(7, 3))
    module[1].weight = module[0].weight
    return module


def hooked() -> nn.Module:
    module = mlp()()
    module.layers[0].register_forward_hook(lambda _module, _inputs, output: output + 1)  # type: ignore[union-attr]
    return module


def frozen() -> nn.Module:
    module = mlp()()
    module.layers[0].weight.requires_grad_(False)  # type: ignore[union-attr]
    return module


@pytest.mark.parametrize(
    ("build", "recipe"),
    [
        (lambda: Own(7, 3, width=8), Recipe(Dropout(0.1))),
        (tied, Recipe()),
        (hooked, Recipe()),
        (frozen, Recipe(Dropout(0.1))),
        (lambda: nn.Sequential(nn.Linear(7, 4), nn.GELU(approximate="tanh"), nn.Linear(4, 3)), Recipe()),
        (mlp(), Recipe(GaussianDropout(0.2))),
        (mlp(), Recipe(Dropout(0.2, where="inputs"))),
        (lambda: nn.Sequential(nn.Linear(7, 4), nn.Dropout(0.0), nn.Linear(4, 3)), Recipe()),
        (lambda: nn.Sequential(nn.Linear(7, 4), nn.LayerNorm(4), nn.Linear(4, 3)), Recipe()),
    ],
)
def test_what_has_no_kernel_goes_by_torch(build: Callable[[], nn.Module], recipe: Recipe) -> None:
    populations, terms = both(build, recipe)
    assert not is_fast(populations[0])
    assert_alike(populations, terms)


def test_float64_goes_by_torch() -> None:
    data = Rows(X.double(), Y.double())
    populations, terms = both(lambda: mlp()().double(), EVERY, data=data)
    assert not is_fast(populations[0])
    for name in terms[0]:
        assert torch.equal(terms[0][name], terms[1][name])


def test_the_average_goes_on_where_it_was_when_kernels_come_or_go() -> None:
    population = Population(mlp(), Recipe(Ema(0.9), Decay(0.1)), CrossEntropy(), lr=[1e-3] * 2, classes=3)
    other = Population(mlp(), Recipe(Ema(0.9), Decay(0.1)), CrossEntropy(), lr=[1e-3] * 2, classes=3)
    for on in (True, False, True):
        with native(on):
            population.train(CLASSES, 2, 20)
        with native(False):
            other.train(CLASSES, 2, 20)
    for name, weight in population.weights().items():
        torch.testing.assert_close(weight, other.weights()[name], rtol=1e-4, atol=1e-5)


def test_weights_written_by_a_kernel_are_marked_as_changed() -> None:
    population = Population(mlp(), EVERY, CrossEntropy(), lr=[1e-3] * 2, classes=3)
    before = population.state.flat.data._version
    population.train(CLASSES, 1, 20)
    assert population.state.flat.data._version > before


@pytest.mark.parametrize("build", [mlp("mish"), table_net(True, 2)])
@pytest.mark.parametrize("count", [1, 2, 128, 300])
def test_outputs_are_those_of_vmap(build: Callable[[], nn.Module], count: int) -> None:
    population = Population(build, EVERY, CrossEntropy(), lr=[1e-2] * 3, classes=3)
    population.train(CLASSES, 5, 20)
    inputs, rows = torch.randn(count, 7), torch.randint(0, count, (3, 150))
    stack = population.stack()
    for own in (None, rows):
        with native(True):
            fast = stack.outputs(inputs, own)
        with native(False):
            torch.testing.assert_close(fast, stack.outputs(inputs, own), rtol=1e-5, atol=1e-6)


def test_statistics_of_averaged_weights_are_those_of_vmap() -> None:
    population = Population(mlp(), Recipe(BatchNorm(), Ema(0.9)), CrossEntropy(), lr=[1e-2] * 3, classes=3)
    population.train(CLASSES, 5, 20)
    found = []
    for on in (True, False):
        with native(on):
            population.restore(None)
            population._sample = Picked(CLASSES, torch.arange(90).expand(3, -1))
            found.append(population.buffers())
    for name, buffer in found[0].items():
        assert not torch.equal(buffer, population.state.buffers[name])
        torch.testing.assert_close(buffer, found[1][name], rtol=1e-5, atol=1e-6)


def test_outputs_of_a_member_do_not_depend_on_the_others_or_on_how_many_rows_there_are() -> None:
    population = Population(mlp("silu"), EVERY, CrossEntropy(), lr=[1e-2] * 3, classes=3)
    inputs = torch.randn(301, 7)
    whole = population.stack().outputs(inputs)
    assert torch.equal(population.stack().select(torch.tensor([2])).outputs(inputs[130:150])[0], whole[2, 130:150])


def test_populations_that_train_in_several_threads_do_not_meet() -> None:
    def made() -> list[Population]:
        return [Population(mlp(), EVERY, CrossEntropy(), lr=[1e-3] * 6, classes=3, seed=seed) for seed in range(4)]

    def weights(population: Population) -> torch.Tensor:
        population.train(CLASSES, 20, 60)
        return population.state.flat.data

    alone = [weights(population) for population in made()]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(weights, made()))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
