"""Recipes as files: exact, strict, and no way to run code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from poise import L1, Cosine, Decay, Dropout, GroupLasso, Mixup, Recipe, SwitchOff
from poise.core.errors import ArgumentError
from poise.core.spec import FORMAT, from_json, from_spec, to_json


def parts(text: str) -> Recipe:
    return Recipe.from_yaml(f"format: 1\nparts:\n  {text}\n")


RECIPES = [
    Recipe(),
    Recipe(L1(1e-4)),
    Recipe(L1(Cosine(1e-4, 0.0, 2000), where=("weights", "biases"), name="on"), Decay(0.05)),
    Recipe(Dropout(np.float64(0.2)), L1(Cosine(np.float64(1e-4), 0.0, 2000))),
    Recipe(Dropout(torch.tensor([0.1, 0.2])), Mixup(SwitchOff(0.4, 10, after=0.1))),
    Recipe(GroupLasso(0.1, name="yes"), L1(1e-300, name="null"), L1(0.1 + 0.2, name="1e-4"), L1(1.0, name="π ü 😀")),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=range(len(RECIPES)))
def test_a_recipe_comes_back_from_every_form(recipe: Recipe, tmp_path: Path) -> None:
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert from_json(to_json(recipe)) == recipe
    assert from_spec(recipe.spec()) == recipe
    for name, text in (("r.yaml", recipe.to_yaml()), ("r.json", to_json(recipe))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert Recipe.load(tmp_path / name) == recipe
        assert [p.name for p in Recipe.load(tmp_path / name)] == [p.name for p in recipe]


def test_the_form_on_file_is_plain() -> None:
    spec = RECIPES[2].spec()
    assert spec["format"] == FORMAT == 1
    assert json.loads(json.dumps(spec)) == spec
    assert spec["parts"]["on"]["kind"] == "l1"
    assert spec["parts"]["on"]["weight"] == {"cosine": {"start": 1e-4, "stop": 0.0, "steps": 2000}}


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    # YAML 1.1 takes 1e-4 (no dot) for a string.
    assert parts("l1: {weight: 1e-4}") == Recipe(L1(1e-4))
    assert parts("l1: {weight: {linear: {start: 1e-4, stop: 0, steps: 10}}}").dials()["l1.weight"].start == 1e-4
    assert parts("l1: {weight: [1e-4, 2e-4]}").dials()["l1.weight"].tolist() == pytest.approx([1e-4, 2e-4])


def test_the_key_on_is_explained() -> None:
    with pytest.raises(ArgumentError, match=r"parts.l1: unknown field True \(YAML 1.1 reads the key `on` as True"):
        parts("l1: {weight: 0.1, on: weights}")


def test_a_part_without_fields_takes_its_defaults() -> None:
    assert parts("decay:") == Recipe(Decay())


REFUSED: dict[str, tuple[str, str]] = {
    "no version": ("parts: {}", "the recipe's `format` must be 1; got None"),
    "another version": ("format: 2\nparts: {}", "the recipe's `format` must be 1; got 2"),
    "version as text": ("format: '1'\nparts: {}", "the recipe's `format` must be 1; got '1'"),
    "no parts": ("format: 1", "a mapping with `format` and `parts`"),
    "a list": ("- 1", "a mapping with `format` and `parts`"),
    "nothing": ("", "a mapping with `format` and `parts`; got None"),
    "another key": ("format: 1\nparts: {}\nseed: 3", "keys `format` and `parts`; got .'seed'. too"),
    "parts as a list": ("format: 1\nparts: [l1]", "`parts` must be a mapping from names to fields"),
    "unknown part": ("format: 1\nparts: {l9: {}}", "parts.l9: no regularizer is called 'l9'.*docs/regularizers.md"),
    "misspelled part": ("format: 1\nparts: {dropuot: {}}", "'dropuot'. Did you mean dropout"),
    "unknown kind": ("format: 1\nparts: {a: {kind: l9}}", "parts.a: no regularizer is called 'l9'"),
    "kind as a list": ("format: 1\nparts: {a: {kind: [l1]}}", "parts.a: no regularizer is called"),
    "unknown field": ("format: 1\nparts: {l1: {strength: 1}}", "parts.l1: unknown field 'strength'. Known: .*weight"),
    "fields as a number": ("format: 1\nparts: {l1: 0.1}", "parts.l1 must be a mapping from fields to values; got 0.1"),
    "fields as a list": ("format: 1\nparts: {l1: [0.1]}", "parts.l1 must be a mapping from fields to values"),
    "a name that is no text": ("format: 1\nparts: {1: {kind: l1}}", "a part's name must be text; got 1"),
    "a name that YAML takes for true": ("format: 1\nparts: {on: {kind: l1}}", "a part's name must be text; got True"),
    "text as a number": (
        "format: 1\nparts: {l1: {weight: much}}",
        "parts.l1.weight must be a number; got the text 'much'",
    ),
    "true as a number": (
        "format: 1\nparts: {l1: {weight: true}}",
        "`L1.weight` must be a finite number >= 0; got True",
    ),
    "null as a number": (
        "format: 1\nparts: {l1: {weight: null}}",
        "`L1.weight` must be a finite number >= 0; got None",
    ),
    "out of range": ("format: 1\nparts: {l1: {weight: -1}}", "`L1.weight` must be a finite number >= 0; got -1"),
    "NaN": ("format: 1\nparts: {l1: {weight: .nan}}", "`L1.weight` must be a finite number >= 0; got nan"),
    "unknown schedule": ("format: 1\nparts: {l1: {weight: {sine: {}}}}", "one schedule of constant, cosine"),
    "two schedules": ("format: 1\nparts: {l1: {weight: {cosine: {}, linear: {}}}}", "one schedule of"),
    "schedule without fields": (
        "format: 1\nparts: {l1: {weight: {cosine: {}}}}",
        "parts.l1.weight: cosine takes other",
    ),
    "schedule as a number": ("format: 1\nparts: {l1: {weight: {cosine: 3}}}", "parts.l1.weight: cosine takes other"),
    "a part twice": ("format: 1\nparts:\n  l1: {weight: 1}\n  l1: {weight: 2}", "has the key 'l1' 2 times"),
    "a field twice": ("format: 1\nparts: {l1: {weight: 1, weight: 2}}", "has the key 'weight' 2 times"),
    "broken": ("format: [1", "the recipe is not plain YAML: "),
    "two documents": ("format: 1\n---\nformat: 1", "the recipe is not plain YAML: "),
    "a part that holds itself": ("format: 1\nparts: &a {l1: *a}", "parts.l1: unknown field 'l1'"),
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_is_wrong_is_named(word: str) -> None:
    text, message = REFUSED[word]
    with pytest.raises(ArgumentError, match=message):
        Recipe.from_yaml(text)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch CANARY']",
        "!!python/object/new:subprocess.Popen [['touch', 'CANARY']]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1]",
        "!custom {a: 1}",
    ],
)
def test_tags_that_build_objects_are_refused(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in (tag, f"format: 1\nparts: {{l1: {{weight: {tag}}}}}"):
        with pytest.raises(ArgumentError, match="the recipe is not plain YAML"):
            Recipe.from_yaml(text)
    assert not list(tmp_path.iterdir()), "the tag ran a command"


def test_a_bomb_of_aliases_is_refused_quickly() -> None:
    rows = ["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))]
    with pytest.raises(ArgumentError, match="a mapping with `format` and `parts`"):
        Recipe.from_yaml("\n".join(rows))


@pytest.mark.parametrize("text", ["", "{", "[1", '{"format": 1}', "nul"])
def test_json_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError):
        from_json(text)


@pytest.mark.parametrize("value", [None, 3, "text", [], object()], ids=["none", "number", "text", "list", "object"])
def test_plain_data_that_is_no_mapping_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentError, match="a recipe must be a mapping"):
        from_spec(value)
