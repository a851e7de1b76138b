"""Checks of what a class declares: its facts, its docstring, its dials, and its way through a recipe and a file."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import io
import math
import pickle
import re
import sys
from typing import Any

import torch

from poise.core.dial import Dial, dials_of
from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.core.regularizer import EVERY_STAGE, Regularizer, snake
from poise.core.schedule import Linear, Schedule
from poise.core.spec import from_json, to_json
from poise.testing.samples import changed
from poise.testing.trial import Trial

__all__ = [
    "check_bounds",
    "check_copies",
    "check_docstring",
    "check_facts",
    "check_in_recipe",
    "check_round_trip",
    "check_schedule",
    "illegal_values",
]

_PARTS = ("Neutral", "Shapes", "Units", "Raises", "Source")


def check_facts(trial: Trial) -> int:
    """The class is final, registered under its own name, and says its formula, cost, stages and ranges."""
    kind, part = type(trial.part), trial.part
    assert kind.final, "is not final"
    assert Regularizer.registry.get(snake(kind.__name__)) is kind, "is not registered under its own name"
    assert kind.formula, "has no formula"
    assert kind.cost, "has no cost"
    assert type(kind.rank) is int, f"has rank {kind.rank!r}, not an int"
    assert kind.stages(), "overrides no stage"
    assert list(kind.stages()) == [s for s in EVERY_STAGE if s in kind.stages()], "lists its stages out of order"
    for name, declared in dials_of(kind).items():
        assert declared.allows(declared.default), f"{name}: the default {declared.default} is outside its own range"
        limit = math.isinf(declared.neutral)
        assert limit or declared.allows(declared.neutral), f"{name}: neutral {declared.neutral} is not legal"
    try:
        part.name = "other"  # type: ignore[misc]  # that it is refused is the claim
    except dataclasses.FrozenInstanceError:
        return 8 + 2 * len(dials_of(kind))
    raise AssertionError("is not frozen")


def check_docstring(trial: Trial) -> int:
    """The docstring has its one sentence, its parts and an example that is true."""
    kind = type(trial.part)
    doc = vars(kind).get("__doc__") or ""
    first = doc.strip().split("\n\n")[0]
    assert first.endswith("."), f"its first sentence has no end: {first[:60]!r}"
    missing = [name for name in _PARTS if not re.search(rf"^[ \t]*{name}:", doc, flags=re.MULTILINE)]
    assert not missing, f"the docstring has no line {', '.join(missing)}"
    example = doctest.DocTestParser().get_doctest(
        doc, dict(vars(sys.modules[kind.__module__])), kind.__name__, None, None
    )
    assert example.examples, "the docstring has no example"
    printed = io.StringIO()
    with torch.random.fork_rng(devices=[]):
        result = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(example, out=printed.write)
    assert not result.failed, printed.getvalue()
    return len(_PARTS) + 1 + result.attempted


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value


def _same(part: Regularizer, other: Any) -> bool:
    return type(part) is type(other) and all(
        _plain(getattr(part, f.name)) == _plain(getattr(other, f.name)) for f in dataclasses.fields(part)
    )


def check_round_trip(trial: Trial) -> int:
    """The part comes back from YAML, from JSON and from its repr with every field, also under another name."""
    kind = type(trial.part)
    # All of them, because a part may hold parts.
    names = {"Recipe": Recipe} | {known.__name__: known for known in Regularizer.registry.values()}
    names |= {kind.__name__: kind}
    for part in (trial.part, changed(trial.part, name="on")):
        recipe = Recipe(part)
        back = {
            "YAML": Recipe.from_yaml(recipe.to_yaml()),
            "JSON": from_json(to_json(recipe)),
            "repr": eval(repr(recipe), names),
        }
        for way, other in back.items():
            assert _same(part, other[part.name]), f"{way} gives {other!r} for {recipe!r}"
    return 6


def check_copies(trial: Trial) -> int:
    """Copies of the part, and of a recipe that holds it, are equal to it."""
    part, recipe = trial.part, Recipe(trial.part)
    for made in (copy.deepcopy(part), pickle.loads(pickle.dumps(part)), dataclasses.replace(part), part.at({})):
        assert _same(part, made), f"a copy is {made!r}"
    for again in (copy.deepcopy(recipe), pickle.loads(pickle.dumps(recipe))):
        assert again == recipe, f"a copy of the recipe is {again!r}"
    return 6


def check_in_recipe(trial: Trial) -> int:
    """A recipe can list, move, neutralise, drop and explain the part."""
    part = trial.part
    recipe = Recipe(part)
    assert part.name in recipe, "a recipe does not know its part"
    assert not recipe.without(part.name).parts, "without() leaves the part in the recipe"
    declared = dials_of(part)
    off = recipe.neutral(part.name)[part.name]
    assert off.dials() == {n: d.neutral for n, d in declared.items()}, f"neutral() gives {off!r}"
    assert _same(part, recipe.at({f"{part.name}.{n}": v for n, v in part.dials().items()})[part.name]), (
        "at() changes it"
    )
    assert list(recipe.dials()) == [f"{part.name}.{n}" for n in declared], "dials() has other keys"
    for text in (recipe.explain(), recipe.explain(trial.sample.module())):
        assert part.name in text, "the receipt does not name the part"
        assert type(part).formula in text, "the receipt does not show the formula"
    try:
        recipe.plus(part)
    except ArgumentError:
        return 8
    raise AssertionError("a recipe takes two parts of one name")


def illegal_values(declared: Dial) -> dict[str, Any]:
    """Return a value for each way in which a dial can be wrong, by a word for it."""
    wrong: dict[str, Any] = {
        "NaN": math.nan,
        "inf": math.inf,
        "-inf": -math.inf,
        "text": "0.1",
        "bool": True,
        "None": None,
        "list": [0.1],
        "complex": 0.1 + 0j,
        "huge int": 10**400,
        "tensor with grad": torch.tensor(float(declared.default), requires_grad=True),
        "tensor with NaN": torch.tensor([declared.default, math.nan]),
        "tensor of two dimensions": torch.full((2, 2), float(declared.default)),
        "empty tensor": torch.zeros(0),
        "bool tensor": torch.tensor([True]),
        "schedule out of range": Linear(declared.default, math.nan, 5),
    }
    if math.isfinite(declared.low):
        wrong["below"] = declared.low if declared.open_low else math.nextafter(declared.low, -math.inf)
        wrong["tensor below"] = torch.tensor([declared.default, declared.low - 1.0])
    if math.isfinite(declared.high):
        wrong["above"] = declared.high if declared.open_high else math.nextafter(declared.high, math.inf)
    return {word: v for word, v in wrong.items() if not (isinstance(v, float) and declared.allows(v))}


def _refusal(part: Regularizer, field: str, value: Any) -> str:
    try:
        changed(part, **{field: value})
    except ArgumentError as error:
        return str(error)
    return ""


def check_bounds(trial: Trial, field: str) -> int:
    """Every illegal value of the dial raises the standard message, and the ends of its range do not."""
    part, declared = trial.part, dials_of(trial.part)[field]
    wrong = illegal_values(declared)
    for word, value in wrong.items():
        said = _refusal(part, field, value)
        start = f"`{type(part).__name__}.{field}`"
        assert said, f"{word}: {field} = {value!r} is accepted"
        assert said.startswith(start), f"{word}: the message does not begin with {start}: {said}"
        assert "must be" in said, f"{word}: the message gives no rule: {said}"
        assert "; got " in said, f"{word}: the message does not show the value: {said}"
    ends = {declared.default, *(v for v in (declared.low, declared.high, *declared.search) if declared.allows(v))}
    for end in ends:
        changed(part, **{field: end})
    return len(wrong) + len(ends)


def check_schedule(trial: Trial, field: str) -> int:
    """The dial takes a schedule and a tensor of members; a level schedule does what the number does."""
    value = trial.part.dials()[field]
    assert not isinstance(value, Schedule), "give the battery a part whose dials are numbers"
    moving = changed(trial.part, **{field: Linear(value, value, steps=8)})
    key = f"{moving.name}.{field}"
    now = Recipe(moving).resolve({}, 3).dials()[key]
    assert abs(float(now) - float(value)) <= 1e-6 * max(1.0, abs(float(value))), f"step 3 of a level schedule is {now}"
    back = Recipe.from_yaml(Recipe(moving).to_yaml()).dials()[key]
    assert back == moving.dials()[field], f"YAML gives {back!r} for {moving!r}"
    several = changed(trial.part, **{field: torch.full((3,), float(value))})
    assert Recipe(several).dials()[key].shape == (3,), "a tensor with one number a member does not stay"
    return 3
