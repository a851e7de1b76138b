"""The receipt says what a part does, where, to how much; and which parts fight or find nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from poise import (
    L1,
    L2,
    BatchNorm,
    CaGrad,
    Decay,
    Dropout,
    DropPath,
    Ema,
    GradNorm,
    GroupLasso,
    InputNoise,
    LabelSmoothing,
    Mixup,
    Patience,
    PcGrad,
    RDrop,
    Recipe,
    Sam,
    ShakeDrop,
    Swa,
    UncertaintyWeights,
)
from poise.core.conflicts import conflicts
from poise.core.explain import decay_formula
from poise.core.regularizer import Regularizer
from poise.core.touched import touched


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_the_receipt_without_a_model() -> None:
    text = Recipe(L1(1e-4), Dropout(0.2)).explain()
    assert "l1  [objective -> update]" in text
    assert L1.formula in text
    assert "weight = 0.0001" in text
    assert f"touches weights; costs {L1.cost}" in text
    assert "touches after every activation" in text
    assert text.endswith("no conflicts found")


def test_the_receipt_with_a_model_counts() -> None:
    text = Recipe(L1(1e-4), Dropout(0.2)).explain(network())
    assert "touches weights: 2 tensors, 20 numbers (0.weight, 2.weight), not 2 biases" in text
    assert "touches 1 sites (1)" in text


def test_an_empty_recipe_says_so() -> None:
    assert Recipe().explain() == "An empty recipe: training is left as it is."


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (Mixup(0.4), "the batch"),
        (InputNoise(0.1, where="numeric"), "the batch"),
        (Ema(0.9), "all weights"),
        (Patience(3), "the run"),
        (Decay(0.1), "weights"),
        (L1(0.1, where=("weights", "biases")), "weights and biases"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.name,
)
def test_what_a_part_touches_in_words(part: Regularizer, word: str) -> None:
    assert touched(part, None) == word


NOTHING = [
    (L1(0.1, where="norms"), network(), "l1 has no effect: it found NOTHING .norms selects no parameter."),
    (Dropout(0.2), nn.Sequential(nn.Linear(3, 1)), "dropout has no effect"),
]


@pytest.mark.parametrize(("part", "module", "message"), NOTHING, ids=["selection", "sites"])
def test_a_part_that_finds_nothing_is_named(part: Regularizer, module: nn.Module, message: str) -> None:
    (found,) = conflicts(Recipe(part), module)
    assert message.replace(".", "") in found.replace(".", "").replace("(", "").replace(")", "")
    assert f"warning: {found}" in Recipe(part).explain(module)


FIGHTS: dict[str, tuple[tuple[Regularizer, ...], str]] = {
    "decay twice": ((L2(0.1), Decay(0.1)), "both shrink the weights"),
    "the same twice": ((L1(0.1), L1(0.1, name="again")), "again and l1 are the same regularizer twice"),
    "smoothing twice": ((LabelSmoothing(0.1), LabelSmoothing(0.1, name="more")), "the same regularizer twice"),
    "norm twice": ((BatchNorm(), BatchNorm(name="more")), "the same regularizer twice"),
    "two weightings": (
        (UncertaintyWeights(0.1, tasks=("a", "b")), GradNorm(0.1, tasks=("a", "b"))),
        "all weigh the tasks",
    ),
    "sharpness beside surgery": ((Sam(), PcGrad()), "sam's are of a point beside them: keep one"),
    "two surgeries": ((PcGrad(), CaGrad()), "all mend the tasks' gradients"),
    "two droppers of branches": ((DropPath(0.1), ShakeDrop(0.1)), "both drop residual branches"),
    "sparse and averaged": ((L1(0.1), Ema(0.9)), "averaged weights are not exactly zero"),
    "groups and averaged": ((GroupLasso(0.1), Ema(0.9)), "averaged weights are not exactly zero"),
}


@pytest.mark.parametrize("word", FIGHTS)
def test_parts_that_fight_are_named(word: str) -> None:
    parts, message = FIGHTS[word]
    found = conflicts(Recipe(*parts))
    assert len(found) == 1
    assert message in found[0]


def test_two_rules_of_one_class_are_no_fight() -> None:
    recipe = Recipe(Dropout(0.1), Dropout(0.2, where="inputs", name="at_inputs"))
    assert conflicts(recipe) == []


def test_two_averages_and_two_batch_norms_are_named() -> None:
    (found,) = conflicts(Recipe(Ema(0.9), Swa(start=3)))
    assert found.startswith("ema and swa all average the weights")
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    (found,) = conflicts(Recipe(BatchNorm()), model)
    assert found.startswith("batch_norm stands beside the model's own batch norm")


def test_sam_beside_batch_norm_is_remarked_and_not_warned_of() -> None:
    recipe = Recipe(Sam(0.05), BatchNorm())
    assert conflicts(recipe, network()) == []
    assert "note: sam's second pass normalises by the batch at the moved weights" in recipe.explain(network())


def test_r_drop_without_anything_random_is_named() -> None:
    (found,) = conflicts(Recipe(RDrop(1.0)), network())
    assert found.startswith("r_drop has no effect")
    assert conflicts(Recipe(RDrop(1.0), Dropout(0.2)), network()) == []
    assert conflicts(Recipe(RDrop(1.0)), nn.Sequential(network(), nn.Dropout(0.5))) == []


DECAYS: dict[str, tuple[Callable[[Any], torch.optim.Optimizer], str]] = {
    "AdamW": (lambda p: torch.optim.AdamW(p, weight_decay=0.1), "w <- w (1 - lr 0.1), decoupled, before the step"),
    "Adam": (lambda p: torch.optim.Adam(p, weight_decay=0.1), "g <- g + 0.1 w, an L2 penalty that Adam divides"),
    "NAdam": (lambda p: torch.optim.NAdam(p, weight_decay=0.1, decoupled_weight_decay=True), "w <- w (1 - lr 0.1)"),
    "SGD": (lambda p: torch.optim.SGD(p, weight_decay=0.1), "g <- g + 0.1 w, an L2 penalty: as w <- w (1 - lr 0.1)"),
    "none": (torch.optim.SGD, "no weight decay of its own"),
}


@pytest.mark.parametrize("name", DECAYS)
def test_the_receipt_says_which_decay_an_optimizer_runs(name: str) -> None:
    make, formula = DECAYS[name]
    model = network()
    assert formula in Recipe().explain(model, make(model.parameters()))


@pytest.mark.parametrize("name", [name for name in DECAYS if name != "none"])
def test_the_formula_is_what_the_optimizer_does_to_a_weight_without_gradient(name: str) -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = DECAYS[name][0]([weight])
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    decoupled = 2.0 * (1 - optimizer.param_groups[0]["lr"] * 0.1)
    is_shrunk = abs(float(weight.detach()) - decoupled) < 1e-12
    assert is_shrunk == ("w <- w (1 - lr" in decay_formula(optimizer, optimizer.param_groups[0]))


def test_decay_of_biases_and_norms_is_warned_of_by_the_type_of_their_owner() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    text = Recipe().explain(model, torch.optim.AdamW(model.parameters(), weight_decay=0.1))
    assert "touches 6 tensors (2 of weight, 2 of bias, 2 of norm)" in text
    assert "this decay also shrinks bias and norm parameters" in text
    assert "touches weights: 2 tensors, 20 numbers (0.weight, 2.weight), not 2 biases, 2 norms" in Recipe(
        Decay(0.1)
    ).explain(model)


def test_a_recipe_and_an_optimizer_that_both_decay_are_named() -> None:
    model = network()
    text = Recipe(Decay(0.1)).explain(model, torch.optim.AdamW(model.parameters(), weight_decay=0.1))
    assert "warning: the optimizer and decay both shrink the weights" in text


def test_parts_that_agree_are_left_alone() -> None:
    assert conflicts(Recipe(Mixup(0.4), LabelSmoothing(0.1), Dropout(0.2), Decay(0.05), Patience(10))) == []
    assert conflicts(Recipe(L1(0.1, where="weights"), Decay(0.1)), network()) == []


def test_a_dial_of_members_is_shown() -> None:
    assert "weight = tensor([0.1000, 0.2000])" in Recipe(L1(torch.tensor([0.1, 0.2]))).explain()
