"""Populations whose products round their operands to bfloat16: the same training but for that rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise import ArgumentError, BatchNorm, Decay, Dropout, Mixup, Recipe
from poise.core.context import Batch
from poise.kernels import available, native
from poise.kernels.product import has_bfloat16
from poise.models.tabular import Mlp
from poise.train import step as steps
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

X = torch.randn(90, 7, generator=torch.Generator().manual_seed(0))
DATA = Rows(X, nn.functional.one_hot((X[:, 0] > 0).long() + (X[:, 1] > 0).long(), 3).float())
RECIPE = Recipe(BatchNorm(0.4), Dropout(0.3), Mixup(0.5), Decay(0.1))

narrow = pytest.mark.skipif(not has_bfloat16(), reason="no kernels, or no processor with AVX-512 BF16")


def population(products: str, members: Any = (0, 1, 2), recipe: Recipe = RECIPE) -> Population:
    return Population(
        lambda: Mlp(7, 3, width=33, depth=2), recipe, CrossEntropy(), lr=[1e-2 * (1 + member) for member in members],
        members=members, seed=4, classes=3, products=products,
    )  # fmt: skip


class Rounded(torch.autograd.Function):
    """The twin: inputs weight^T + bias, where each product's operands are rounded, also those of the way back."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(inputs.bfloat16().double(), weight.bfloat16().double())
        return (inputs.bfloat16().double() @ weight.bfloat16().double().T).float() + bias

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs, weight = ctx.saved_tensors
        back = grads[0].bfloat16().double()
        return (back @ weight).float(), (back.T @ inputs).float(), grads[0].sum(0)


def twin(found: Population) -> Tensor:
    """The gradient (P,) of the first member, on all rows in order."""
    weights = {name: view[0].clone().requires_grad_() for name, view in found.state.flat.views().items()}
    layers = sorted({name.rsplit(".", 1)[0] for name in weights})
    value = DATA.inputs
    for place, layer in enumerate(layers):
        value = Rounded.apply(value, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        value = value if place == len(layers) - 1 else value.relu()
    loss = -(DATA.targets * value.log_softmax(-1)).sum(-1).mean()
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, list(weights.values()))])


@narrow
def test_gradients_are_those_of_the_twin() -> None:
    found = population("bfloat16", recipe=Recipe())
    batch = Batch(DATA.inputs.expand(3, -1, -1), DATA.targets.expand(3, -1, -1), None)
    work = steps.Work(3)
    ready = found.program.fast.ready(found.state.flat, batch)
    assert ready is not None
    _, grads = ready.add(work, found.state.flat, found.state.buffers, found.state.keys, batch)
    work.run()
    expected = twin(found)
    # A sum that lands beside a tie is rounded the other way: one part in 2^8 of one of many values.
    torch.testing.assert_close(grads[0], expected, rtol=2e-3, atol=1e-5)
    with torch.no_grad():
        wide = population("float32", recipe=Recipe())
        wide_work = steps.Work(3)
        other = wide.program.fast.ready(wide.state.flat, batch)
        assert other is not None
        _, plain = other.add(wide_work, wide.state.flat, wide.state.buffers, wide.state.keys, batch)
        wide_work.run()
    assert float((plain[0] - expected).norm()) > 10 * float((grads[0] - expected).norm())
    torch.testing.assert_close(plain[0], expected, rtol=0.05, atol=2e-3)


@pytest.mark.skipif(not available(), reason="the native kernels are not in use")
def test_a_member_is_what_it_is_alone() -> None:
    together, alone = population("bfloat16"), population("bfloat16", members=(1,))
    together.train(DATA, 7, 20)
    alone.train(DATA, 7, 20)
    assert torch.equal(together.state.flat.data[1], alone.state.flat.data[0])


@narrow
def test_training_is_that_of_float32_but_for_rounding() -> None:
    both = [population(products) for products in ("float32", "bfloat16")]
    for one in both:
        one.train(DATA, 7, 20)
    first, second = [one.state.flat.data for one in both]
    assert not torch.equal(first, second)
    assert float((first - second).norm()) < 0.05 * float(first.norm())


def test_without_kernels_it_is_float32() -> None:
    with native(False):
        both = [population(products) for products in ("float32", "bfloat16")]
        for one in both:
            one.train(DATA, 3, 20)
    assert torch.equal(both[0].state.flat.data, both[1].state.flat.data)


def test_other_products_are_refused() -> None:
    with pytest.raises(ArgumentError, match="got 'float16'"):
        population("float16")
