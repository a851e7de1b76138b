"""Activation checkpointing repeats a forward pass within the backward pass: layers must repeat their draws."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from poise import Linear, Recipe
from poise.core.kinds import inserted_layers
from poise.core.rng import key
from poise.network import DropConnect, Dropout, DropPath, ShakeDrop
from poise.testing.residual_networks import OneBranch

pytestmark = pytest.mark.usefixtures("seeded")
PARTS = (Dropout(0.5), DropConnect(0.3), DropPath(0.5), ShakeDrop(0.5), Dropout(0.3, where="outputs", name="last"))


class Saving(nn.Module):
    """Blocks, of which a backward pass computes the activations anew."""

    def __init__(self, blocks: nn.Sequential, reentrant: bool | None) -> None:
        super().__init__()
        self.blocks, self.reentrant = blocks, reentrant

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x) if self.reentrant is None else checkpoint(block, x, use_reentrant=self.reentrant)
        return x


def blocks() -> nn.Sequential:
    return nn.Sequential(OneBranch(5), nn.Linear(5, 5), nn.ReLU(), OneBranch(5), nn.Linear(5, 2))


def inserted(model: nn.Module) -> nn.Module:
    for part in PARTS:
        part.network(model)
    for step, (_, layer) in enumerate(inserted_layers(model)):
        layer.key = key(1, 0, step)
    return model


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradients_are_those_without_checkpoints(reentrant: bool) -> None:
    bare, x = blocks(), torch.randn(40, 5, requires_grad=True)
    plain = inserted(Saving(copy.deepcopy(bare), None))
    saving = inserted(Saving(copy.deepcopy(bare), reentrant))
    for _ in range(2):
        for ours, theirs in zip(gradients_backward(saving, x), gradients_backward(plain, x), strict=True):
            assert torch.equal(ours, theirs)


def gradients_backward(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the gradients of inputs and weights, by backward(): reentrant checkpoints refuse autograd.grad."""
    model.zero_grad()
    x.grad = None
    model(x).square().sum().backward()
    return [x.grad.clone(), *(p.grad.clone() for p in model.parameters())]  # type: ignore[union-attr]  # just set


def test_a_whole_model_and_segments_of_a_sequence_can_be_checkpointed() -> None:
    bare, x = blocks(), torch.randn(40, 5, requires_grad=True)
    model = inserted(bare)
    expected = gradients_backward(model, x)

    class Outer(nn.Module):
        def __init__(self, call: Any) -> None:
            super().__init__()
            self.inner, self.call = model, call

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.call(x)
            return out

    whole = Outer(lambda x: checkpoint(model, x, use_reentrant=False))
    for ours, theirs in zip(gradients_backward(whole, x), expected, strict=True):
        assert torch.equal(ours, theirs)
    part = Dropout(0.5).network(nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU()))
    want = gradients_backward(part, x)
    x.grad = None
    for _, layer in inserted_layers(part):
        layer.calls = 0  # the segments are called without their root
    part.zero_grad()
    checkpoint_sequential(part, 2, x, use_reentrant=False).square().sum().backward()
    for ours, theirs in zip([x.grad, *(p.grad for p in part.parameters())], want, strict=True):
        assert torch.equal(ours, theirs)  # type: ignore[arg-type]  # just set


def test_without_the_repeat_the_gradient_would_be_wrong() -> None:
    saving = inserted(Saving(blocks(), True))
    x = torch.randn(40, 5, requires_grad=True)
    expected = gradients_backward(saving, x)
    out = saving(x)
    for step, (_, layer) in enumerate(inserted_layers(saving)):
        layer.key = key(2, 0, step)  # other draws in the backward pass, as a moved count would give
    saving.zero_grad()
    out.square().sum().backward()
    assert not all(torch.equal(p.grad, e) for p, e in zip(saving.parameters(), expected[1:], strict=True))


def test_a_layer_called_twice_in_a_checkpoint_is_refused_rather_than_guessed() -> None:
    relu = nn.ReLU()
    model = Dropout(0.5).network(nn.Sequential(nn.Linear(3, 3), relu, nn.Linear(3, 3), relu))
    out = checkpoint(model, torch.randn(4, 3, requires_grad=True), use_reentrant=False)
    with pytest.raises(RuntimeError, match="is called 2 times in a forward pass, so a checkpoint"):
        out.sum().backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_run_with_checkpoints_trains_as_one_without(reentrant: bool) -> None:
    """A run moves keys and dials on at each objective, before backward() repeats the forward pass."""

    def trained(reentrant: bool | None) -> list[Tensor]:
        torch.manual_seed(0)
        run = Recipe(Dropout(Linear(0.9, 0.1, 5)), DropConnect(0.3)).start(Saving(blocks(), reentrant), seed=3)
        optimizer = torch.optim.SGD(run.model.parameters(), lr=0.05)
        x = torch.randn(30, 5, requires_grad=True)
        for _ in range(4):
            run.objective(run.model(x).square().mean()).backward()
            run.update(optimizer)
        return [p.detach() for p in run.model.parameters()]

    for ours, theirs in zip(trained(reentrant), trained(None), strict=True):
        assert torch.equal(ours, theirs)
