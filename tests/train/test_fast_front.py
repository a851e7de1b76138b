"""Factors of the first layer's inputs, by kernels: outputs and steps are those of float64, features or none."""

from typing import Any

import pytest
import torch

from poise import BatchNorm, ClipNorm, Decay, DropConnect, Dropout, Ema, FrontScale, Mixup, Recipe
from poise.kernels import available, native
from poise.kernels.chain import KINDS
from poise.models.edges import quantile_edges
from poise.models.tabular import ColumnPlan, TabularNet
from poise.train.losses import SquaredError
from poise.train.optimizers import Adam, Sgd
from poise.train.population import Population, Rows

pytestmark = pytest.mark.skipif(not available(), reason="the native kernels are not in use")

DRAW = torch.Generator().manual_seed(0)
X = torch.cat([torch.randn(120, 4, generator=DRAW), (torch.rand(120, 3, generator=DRAW) > 0.5).float()], 1)
Y = torch.randn(120, 1, generator=DRAW)
PLAN = ColumnPlan((0, 1, 2, 3, 4, 4, 4), ("numeric",) * 4 + ("category",))
SPEEDS = torch.tensor([3.0, 0.0, 0.5])
FACTOR = "blocks.0.0.poise_front_scale.factor"

NETS: dict[str, dict[str, Any]] = {
    "plain": {"embedding": "none"},
    "few bins": {"bins": 3},
    "bins": {"bins": 24},
    "bins and levels": {"bins": 24, "embed_above": 2},
    "layers behind bins": {"bins": 8, "numeric_size": 5},
    "periodic": {"embedding": "periodic", "bins": 4},
}


def net(bins: int = 8, **rest: Any) -> TabularNet:
    edges = quantile_edges(X.numpy(), [0, 1, 2, 3], bins)
    return TabularNet(PLAN, 1, edges=edges, **({"width": 20, "depth": 2} | rest))


def population(kind: str, *parts: Any, **rest: Any) -> Population:
    given = {"lr": [0.5] * 3, "optimizer": Sgd(), "dials": {"front_scale.speed": SPEEDS}, "seed": 1} | rest
    return Population(lambda: net(**NETS[kind]), Recipe(FrontScale(), *parts), SquaredError(), **given)


def layers_of(one: Population) -> list[str]:
    names = {number: name for name, number in KINDS.items()}
    (plan,) = [ready.plan for ready in one.program.fast._read.values() if ready is not None]
    return [names[layer.kind] for layer in plan.layers]


@pytest.mark.parametrize("kind", NETS)
def test_steps_and_outputs_are_those_of_float64(kind: str) -> None:
    ours = population(kind)
    alone = [ours.stack().network(place).double() for place in range(3)]
    for _ in range(3):
        ours.train(Rows(X, Y), 1, 120)
        for model in alone:
            model.zero_grad()
            torch.square(model(X.double()) - Y.double()).mean().backward()
            with torch.no_grad():
                for value in model.parameters():
                    value -= 0.5 * value.grad
    assert layers_of(ours).count("front_scale") == 1
    assert ("bins" in layers_of(ours)) is (kind in ("bins", "bins and levels"))
    outputs = ours.outputs(X)
    for place, model in enumerate(alone):
        moved = dict(ours.stack().network(place).named_parameters())
        for name, value in model.named_parameters():
            torch.testing.assert_close(moved[name].double(), value.detach(), rtol=1e-4, atol=5e-6)
        torch.testing.assert_close(outputs[place].double(), model(X.double()).detach(), rtol=1e-4, atol=1e-5)
    factors = ours.weights()[FACTOR]
    assert bool((factors[0] != 0).all())
    assert bool((factors[1] == 0).all())  # speed 0: no gradient


@pytest.mark.parametrize("kind", ["plain", "bins", "layers behind bins"])
@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_kernels_and_torch_train_alike_with_other_parts(kind: str, products: str) -> None:
    found, losses = [], []
    for on in (True, False):
        with native(on):
            one = population(kind, BatchNorm(), Dropout(0.1), Mixup(0.4), ClipNorm(1.0), Decay(0.1), Ema(0.9),
                             lr=[1e-2] * 3, optimizer=Adam(eps=1e-2), products=products)  # fmt: skip
            losses.append(one.train(Rows(X, Y), 6, 40)["data"])
            found.append(one.weights())
    if products == "bfloat16":  # what is rounded differs: the scaled weights here, features and weights there
        torch.testing.assert_close(losses[0], losses[1], rtol=0.03, atol=1e-3)
        return
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=1e-5)


def test_a_member_has_the_same_bits_alone_and_among_others() -> None:
    several, alone = (
        population("bins"),
        population("bins", lr=[0.5], members=[2], dials={"front_scale.speed": SPEEDS[2:]}),
    )
    for one in (several, alone):
        one.train(Rows(X, Y), 6, 32)
    for name, value in alone.weights().items():
        assert torch.equal(value[0], several.weights()[name][2]), name


def test_without_speed_it_costs_no_layer_and_beside_another_edit_torch_does_the_step() -> None:
    idle = population("plain", dials={"front_scale.speed": torch.zeros(3)})
    idle.train(Rows(X, Y), 2, 32)
    assert "front_scale" not in layers_of(idle)
    both = population("plain", DropConnect(0.2))
    both.train(Rows(X, Y), 2, 32)
    assert all(ready is None for ready in both.program.fast._read.values())
