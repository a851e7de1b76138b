"""300 steps in float64: a member of a population is the loop that one would write by hand, with many parts on."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import (
    L1,
    L2,
    ActivationPenalty,
    AdaptiveClip,
    Adversarial,
    Centralize,
    ClipNorm,
    ConfidencePenalty,
    Cosine,
    Decay,
    DropConnect,
    Dropout,
    Ema,
    GaussianDropout,
    GradientNoise,
    GroupLasso,
    HiddenNoise,
    InputGradientPenalty,
    InputNoise,
    JacobianPenalty,
    LabelSmoothing,
    Lookahead,
    MaxNorm,
    Mixup,
    Orthogonal,
    PoiseWarning,
    PullToStart,
    RDrop,
    Recipe,
    RmsNorm,
    Sam,
    SpectralDecoupling,
    Swa,
    UnitLasso,
    VirtualAdversarial,
    WeightNoise,
    WeightNorm,
)  # fmt: skip
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows
from poise.train.rows import epoch_order

STEPS, SIZE, RATE = 300, 30, 3e-3
PLAIN = Recipe(
    LabelSmoothing(0.1), L2(1e-2), ClipNorm(0.3), Decay(0.2), L1(2e-3, where="inputs"), MaxNorm(1.0),
    Ema(0.9, warmup=False),
)  # fmt: skip
LAYERS = Recipe(
    RmsNorm(), WeightNorm(), Dropout(Cosine(0.3, 0.1, steps=STEPS)), HiddenNoise(0.05), WeightNoise(0.01), Mixup(0.4),
    InputNoise(0.1), LabelSmoothing(0.1), ActivationPenalty(1e-3, l2=1e-2), ConfidencePenalty(0.05), Decay(0.1),
    ClipNorm(1.0), Ema(0.9),
)  # fmt: skip
PENALTIES = Recipe(
    DropConnect(0.1), GaussianDropout(0.1), Orthogonal(1e-3), SpectralDecoupling(1e-2), PullToStart(1e-2),
    JacobianPenalty(1e-2), InputGradientPenalty(1e-2), RDrop(0.1), Centralize(0.5), GradientNoise(1e-4),
    GroupLasso(1e-4, where="inputs"), MaxNorm(2.0), Swa(start=100),
)  # fmt: skip
PASSES = Recipe(
    Dropout(0.1), Adversarial(0.3, epsilon=0.05), VirtualAdversarial(0.1), Sam(0.02), AdaptiveClip(0.5),
    UnitLasso(1e-4), Lookahead(every=5),
)  # fmt: skip


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def population(recipe: Recipe) -> Population:
    """Three members of one rate; compared is the one in the middle."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)
        return Population(build, recipe, CrossEntropy(), lr=[RATE] * 3, members=[4, 0, 7], seed=4, classes=3)


def like_the_member(members: Population) -> nn.Module:
    model, own = build(), members.state.flat.views()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in own:
                p.copy_(own[name][1])
    return model


def batches(members: Population, data: Rows, steps: int) -> list[tuple[Tensor, Tensor]]:
    """The rows that the member sees, step by step."""
    per_epoch = len(data) // SIZE
    found = []
    for step in range(steps):
        order = epoch_order(members.state.keys[1:2], step // per_epoch, len(data))[0]
        rows = order[step % per_epoch * SIZE :][:SIZE]
        found.append((data.inputs[rows], data.targets[rows]))
    return found


def gap(members: Population, model: Any, averaged: dict[str, Tensor] | None) -> float:
    """The largest distance of weights and averages, relative to max(1, |w|)."""
    found = 0.0
    for theirs, ours in ((members.state.flat.views(), dict(model.named_parameters())), (members.weights(), averaged)):
        for name, tensor in (ours or {}).items():
            distance = (theirs[name][1] - tensor.detach()).abs() / tensor.detach().abs().clamp(min=1)
            found = max(found, float(distance.max()))
    return found


@pytest.fixture
def data(table: Rows) -> Rows:
    return Rows(table.inputs.double(), table.targets.double())


def test_it_is_a_loop_in_plain_torch(data: Rows) -> None:
    members = population(PLAIN)
    model, rows = like_the_member(members), batches(members, data, STEPS)
    layers: list[Any] = [layer for layer in model.children() if isinstance(layer, nn.Linear)]
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    groups: Any = [{"params": weights, "weight_decay": 0.2}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, foreach=False)
    shadow = {name: p.detach().clone() for name, p in model.named_parameters()}
    zeros = 0
    for x, y in rows:
        optimizer.zero_grad()
        penalty = 0.5 * 1e-2 * torch.stack([w.square().sum() for w in weights]).sum()
        (F.cross_entropy(model(x), y, label_smoothing=0.1) + penalty).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
        with torch.no_grad():
            state = optimizer.state[weights[0]]
            spread = (state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))).sqrt() + 1e-8
            weights[0].copy_(F.softshrink(weights[0] * spread / (2e-3 * RATE), 1.0) * (2e-3 * RATE) / spread)
            for w in weights:
                w.mul_((1.0 / w.norm(dim=1, keepdim=True)).clamp(max=1.0))
            for name, p in model.named_parameters():
                shadow[name].mul_(0.9).add_(p, alpha=0.1)
        zeros += int((weights[0] == 0).sum())
    members.train(data, STEPS, SIZE)
    assert zeros > 0, "the threshold must have acted"
    assert gap(members, model, shadow) <= 1e-12


@pytest.mark.parametrize("steps", [12, pytest.param(STEPS, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("recipe", [LAYERS, PENALTIES, PASSES], ids=["layers", "penalties", "passes"])
def test_it_is_the_users_own_loop_under_the_recipe(recipe: Recipe, steps: int, data: Rows) -> None:
    members = population(recipe)
    model, rows = like_the_member(members), batches(members, data, steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)
        run = recipe.start(model, seed=4, classes=3)
    optimizer = torch.optim.Adam(run.model.parameters(), lr=RATE, foreach=False)
    for x, y in rows:

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            inputs, targets = run.batch(x, y)
            outputs = run.model(inputs)
            total = run.objective(F.cross_entropy(outputs, targets), outputs=outputs)
            total.backward()
            return total

        run.step(optimizer, closure)
    members.train(data, steps, SIZE)
    assert gap(members, run.model, run.averaged) <= 1e-12
