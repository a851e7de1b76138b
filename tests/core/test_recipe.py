"""A recipe is a set: the order of listing does not matter, and every way in and out keeps every number."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import poise
from poise import L1, L2, Cosine, Decay, Dropout, Ema, LabelSmoothing, Linear, MaxNorm, Mixup, Patience, Recipe
from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key

PARTS = (
    Mixup(alpha=0.4),
    LabelSmoothing(0.1),
    Dropout(p=0.2),
    L1(1e-4),
    L1(1e-3, where="biases", name="l1_biases"),
    Decay(0.05),
    MaxNorm(2.0),
    Ema(0.99),
    Patience(10),
)


@given(st.permutations(PARTS))
def test_the_order_of_listing_does_not_matter(parts: list[Regularizer]) -> None:
    one, other = Recipe(*PARTS), Recipe(*parts)
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one) == repr(other)
    assert one.to_yaml() == other.to_yaml()
    for stage in poise.core.regularizer.EVERY_STAGE:
        assert one.stage(stage) == other.stage(stage)


def test_a_stage_folds_by_rank_then_name() -> None:
    calls: list[str] = []

    @dataclass(frozen=True)
    class Traced(Regularizer):
        def batch(self, batch: Any, memory: Any, ctx: Context) -> Any:
            calls.append(f"{self.name}:{ctx.rng.name}")
            return (*batch, self.name), {"seen": len(calls)}

    del Regularizer.registry["traced"]

    @dataclass(frozen=True)
    class Early(Traced.__mro__[1]):  # type: ignore[misc]  # Regularizer
        rank = 10

        def batch(self, batch: Any, memory: Any, ctx: Context) -> Any:
            return (*batch, self.name), memory

    del Regularizer.registry["early"]
    for parts in itertools.permutations((Traced(name="b"), Traced(name="a"), Early(name="z"))):
        calls.clear()
        recipe = Recipe(*parts)
        before = recipe.remember({})
        value, memory = recipe.fold("batch", (), before, Context(0, Rng(key(0))))
        assert value == ("z", "a", "b")
        assert calls == ["a:/a", "b:/b"]
        assert memory == {"z": {}, "a": {"seen": 1}, "b": {"seen": 2}}
        assert before == {"z": {}, "a": {}, "b": {}}, "the memory that was given changes"


def test_equal_numbers_are_equal_recipes_with_one_hash() -> None:
    for one, other in (
        (Patience(1_000_000), Patience(1e6)),
        (Decay(1), Decay(1.0)),
        (Decay(0.5), Decay(torch.tensor(0.5))),
    ):  # type: ignore[arg-type]
        assert Recipe(one) == Recipe(other)
        assert hash(Recipe(one)) == hash(Recipe(other))
    assert Recipe(Decay(0.1)) != Recipe(Decay(0.2))
    assert Recipe(Decay(0.1)) != "Recipe"


@given(st.floats(0, 1e30), st.floats(0, 1))
def test_repr_and_yaml_keep_every_digit(weight: float, p: float) -> None:
    recipe = Recipe(L1(weight), Dropout(p), L2(Linear(weight, 0.0, 7), name="second"))
    names = {"Recipe": Recipe, "L1": L1, "L2": L2, "Dropout": Dropout, "Linear": Linear}
    assert eval(repr(recipe), names) == recipe
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_repr_shows_defaults_left_out_and_stages() -> None:
    text = repr(Recipe(L1(1e-4, where="biases"), Decay(0.05)))
    assert "L1(where='biases', weight=0.0001)," in text
    assert "# objective, update" in text
    assert repr(Recipe()) == "Recipe()"


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_are_equal(make: Any) -> None:
    recipe = Recipe(*PARTS)
    assert make(recipe) == recipe
    assert repr(make(recipe)) == repr(recipe)


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(AttributeError, match=r"a Recipe is frozen: cannot set 'parts'. Use `at`"):
        Recipe().parts = ()


@pytest.mark.parametrize("part", [3, "l1", L1, None, [L1(0.1)]], ids=repr)
def test_what_is_not_a_part_is_refused(part: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`Recipe.parts` must be regularizers; got "):
        Recipe(part)


def test_two_parts_of_one_name_are_refused() -> None:
    with pytest.raises(
        ArgumentError, match=r"distinct names; got 'l1' 2 times. Name one of them: L1\(..., name=\"l1_2\"\)"
    ):
        Recipe(L1(0.1), L1(0.2, where="biases"))


def test_a_recipe_is_a_collection_by_name() -> None:
    recipe = Recipe(*PARTS)
    assert len(recipe) == len(list(recipe)) == len(PARTS)
    assert "l1_biases" in recipe
    assert "nothing" not in recipe
    assert recipe["decay"] == Decay(0.05)
    with pytest.raises(KeyError, match="no part named 'nothing'"):
        recipe["nothing"]


def test_dials_have_keys_of_part_and_field() -> None:
    recipe = Recipe(Mixup(0.4), L1(1e-3, name="first"))
    assert recipe.dials() == {"mixup.alpha": 0.4, "mixup.share": 1.0, "first.weight": 1e-3}
    assert recipe.declared().keys() == recipe.dials().keys()


def test_at_replaces_and_checks() -> None:
    recipe = Recipe(*PARTS)
    moved = recipe.at({"mixup.alpha": 1.0, "l1_biases.weight": torch.tensor([0.1, 0.2])})
    assert moved.dials()["mixup.alpha"] == 1.0
    assert recipe.dials()["mixup.alpha"] == 0.4
    assert moved.at({"mixup.alpha": 0.4, "l1_biases.weight": 1e-3}) == recipe
    with pytest.raises(ArgumentError, match=r"`Mixup.alpha` must be a finite number >= 0; got -1"):
        recipe.at({"mixup.alpha": -1.0})
    for unknown in ("mixup.where", "nothing.alpha", "mixup", "alpha"):
        with pytest.raises(ArgumentError, match=r"`Recipe.at` knows the dials "):
            recipe.at({unknown: 0.1})


def test_without_and_plus_undo_each_other() -> None:
    recipe = Recipe(*PARTS)
    assert recipe.without("mixup", "ema").plus(Mixup(alpha=0.4), Ema(0.99)) == recipe
    with pytest.raises(KeyError, match="no part named 'nothing'"):
        recipe.without("nothing")


def test_neutral_keeps_the_structure() -> None:
    recipe = Recipe(*PARTS)
    off = recipe.neutral()
    assert [p.name for p in off] == [p.name for p in recipe]
    assert off.dials() == {name: d.neutral for name, d in recipe.declared().items()}
    one = recipe.neutral("decay")
    assert one.dials() == recipe.dials() | {"decay.rate": 0.0}
    with pytest.raises(KeyError, match="no part named 'nothing'"):
        recipe.neutral("nothing")


def test_resolve_evaluates_schedules_and_puts_members_in() -> None:
    recipe = Recipe(L1(Cosine(1.0, 0.0, 4)), Decay(0.05))
    now = recipe.resolve({"decay.rate": torch.tensor(0.5)}, step=2).dials()
    assert float(now["l1.weight"]) == pytest.approx(0.5)
    assert float(now["decay.rate"]) == 0.5


def test_a_neutral_without_end_survives_a_file() -> None:
    recipe = Recipe(MaxNorm(2.0)).neutral()
    assert math.isinf(Recipe.from_yaml(recipe.to_yaml()).dials()["max_norm.limit"])
