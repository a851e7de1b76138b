"""The receipt says what a part does, where, to how much; and which parts fight or find nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from poise import (
    L1,
    L2,
    BatchNorm,
    Decay,
    Dropout,
    Ema,
    GroupLasso,
    InputNoise,
    LabelSmoothing,
    Mixup,
    Patience,
    Recipe,
)
from poise.core.explain import conflicts, touched
from poise.core.regularizer import Regularizer


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
    assert "touches weights: 2 tensors, 20 numbers (0.weight, 2.weight)" in text
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
    "sparse and averaged": ((L1(0.1), Ema(0.9)), "averaged weights are not exactly zero"),
    "groups and averaged": ((GroupLasso(0.1), Ema(0.9)), "averaged weights are not exactly zero"),
}


@pytest.mark.parametrize("word", FIGHTS)
def test_parts_that_fight_are_named(word: str) -> None:
    parts, message = FIGHTS[word]
    found = conflicts(Recipe(*parts))
    assert len(found) == 1
    assert message in found[0]


def test_parts_that_agree_are_left_alone() -> None:
    assert conflicts(Recipe(Mixup(0.4), LabelSmoothing(0.1), Dropout(0.2), Decay(0.05), Patience(10))) == []
    assert conflicts(Recipe(L1(0.1, where="weights"), Decay(0.1)), network()) == []


def test_a_dial_of_members_is_shown() -> None:
    assert "weight = tensor([0.1000, 0.2000])" in Recipe(L1(torch.tensor([0.1, 0.2]))).explain()
