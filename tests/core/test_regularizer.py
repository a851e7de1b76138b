"""A regularizer is final, frozen, registered, checked once, and tells its stages by what it overrides."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from poise import L1, Decay, Mixup
from poise.core.dial import dial
from poise.core.errors import ArgumentError
from poise.core.regularizer import EVERY_STAGE, STEP, Regularizer, snake


@dataclass(frozen=True)
class Held(Regularizer):
    amount: float = dial(0.5, neutral=0.0, high=1.0)
    style: str = "soft"

    def update(self, params: Any, memory: Any, ctx: Any) -> Any:
        return params, memory

    def batch(self, batch: Any, memory: Any, ctx: Any) -> Any:
        return batch, memory


del Regularizer.registry["held"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("LabelSmoothing", "label_smoothing"),
        ("L1", "l1"),
        ("CutMix", "cut_mix"),
        ("SWA", "swa"),
        ("ReLUNoise", "re_lu_noise"),
    ],
)
def test_the_yaml_key_of_a_class(name: str, key: str) -> None:
    assert snake(name) == key


def test_the_order_of_the_stages_is_fixed() -> None:
    assert STEP == ("batch", "objective", "gradient", "shrink", "update", "average", "stop")
    assert ("network", *STEP, "predict") == EVERY_STAGE


def test_stages_are_those_overridden_in_order() -> None:
    assert Held.stages() == ("batch", "update")


def test_a_concrete_class_is_registered_and_an_abstract_one_is_not() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Base(Regularizer, abstract=True):
        pass

    assert "base" not in Regularizer.registry
    with pytest.raises(TypeError, match="Base is abstract"):
        Base()
    assert Regularizer.registry["l1"] is L1


def test_a_concrete_class_is_final() -> None:
    with pytest.raises(TypeError, match="More must not subclass a concrete regularizer"):
        type("More", (Held,), {})


def test_a_part_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Held().amount = 0.1  # type: ignore[misc]


def test_a_name_defaults_to_the_class() -> None:
    assert Held().name == "held"
    assert Held(name="other").name == "other"


@pytest.mark.parametrize("name", ["data", "a.b", "a/b", 3, None, True], ids=repr)
def test_a_name_that_would_collide_is_refused(name: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`Held.name` must .*; got "):
        Held(name=name)


def test_at_replaces_dials_unchecked_and_keeps_the_rest() -> None:
    mapped = torch.tensor([5.0, 6.0])
    moved = Held(0.3, style="hard", name="x").at({"amount": mapped})
    assert moved.amount is mapped
    assert (moved.style, moved.name) == ("hard", "x")
    assert Held(0.3).at({}) == Held(0.3)


def test_neutral_sets_every_dial() -> None:
    assert Held(0.3).neutral().dials() == {"amount": 0.0}
    assert Mixup(0.4).neutral().dials() == {"alpha": 0.0, "share": 0.0}


def test_default_stages_return_what_they_are_given() -> None:
    part, value, memory = Decay(0.1), object(), {"m": 1}
    for stage in ("batch", "objective", "gradient", "update", "average", "stop"):
        assert getattr(part, stage)(value, memory, None) == (value, memory)
    assert part.network(value) is value  # type: ignore[arg-type, comparison-overlap]
    assert part.predict(value, None) is value  # type: ignore[arg-type]
    assert part.remember({}) == {}
