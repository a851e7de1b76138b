"""The space of recipes: proposals inside their ranges, parts that are off neutral, trials that read back."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
import pytest

from poise.core.errors import ArgumentError
from poise.study.choices import IMAGE, TABLE, Choices
from poise.study.space import ALWAYS, Space


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def proposals(space: Space, count: int) -> list[tuple[Any, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(count)]
    return [(trial, space.suggest(trial, number)) for number, trial in enumerate(trials)]


@pytest.mark.parametrize("choices", [TABLE, IMAGE], ids=["table", "image"])
def test_every_proposal_is_legal_inside_its_ranges_and_neutral_where_it_is_off(choices: Choices) -> None:
    space = Space(choices=choices)
    for _, config in proposals(space, 200):
        space.recipe.at(config.dials)  # raises if a dial is not legal
        assert choices.lr[0] <= config.lr <= choices.lr[1]
        assert set(config.dials) == set(space.declared)
        for key, value in config.dials.items():
            if key.split(".")[0] not in config.on:
                assert value == space.declared[key].neutral
            elif key in choices.fixed:
                assert value == space.recipe.dials()[key]
            else:
                low, high = choices.ranges[key]
                assert low <= value <= high


def test_a_part_that_is_on_is_never_neutral() -> None:
    space = Space()
    for _, config in proposals(space, 200):
        for name in config.on:
            own = [key for key in space.declared if key.split(".")[0] == name]
            assert any(config.dials[key] != space.declared[key].neutral for key in own), name


@pytest.mark.parametrize("choices", [TABLE, IMAGE], ids=["table", "image"])
def test_every_searched_dial_has_a_legal_range_and_every_fixed_one_exists(choices: Choices) -> None:
    declared = Space(choices=choices).declared
    assert {*choices.ranges, *choices.fixed} == set(declared)
    assert choices.log <= set(choices.ranges)
    assert set(choices.rare) <= set(choices.parts)
    for key, (low, high) in choices.ranges.items():
        assert low < high
        assert declared[key].allows(low)
        assert declared[key].allows(high)


def test_a_configuration_as_a_trial_is_proposed_again_unchanged() -> None:
    space = Space()
    for trial, config in proposals(space, 50):
        params = space.as_trial(config)
        assert params == trial.params
        assert space.suggest(optuna.trial.FixedTrial(params), config.number) == config


def test_the_portfolio_is_distinct_numbered_and_survives_the_way_through_the_sampler() -> None:
    space = Space()
    found = space.portfolio(7)
    assert [config.number for config in found] == list(range(7, 7 + len(found)))
    assert len({(tuple(config.dials.values()), config.lr) for config in found}) == len(found)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for config in found:
        study.enqueue_trial(space.as_trial(config))
        assert space.suggest(study.ask(), config.number) == config


def test_a_portfolio_of_few_parts_repeats_nothing() -> None:
    for parts in ([], ["dropout"], ["patience"]):
        found = Space(parts).portfolio(0)
        assert 1 <= len({(tuple(c.dials.items()), c.lr) for c in found}) == len(found)


def test_what_is_always_on_is_in_every_start_and_proposal_and_never_a_switch() -> None:
    space = Space()
    for config in [*space.portfolio(0), *(config for _, config in proposals(space, 20))]:
        assert set(ALWAYS) <= set(config.on)
        assert not {f"{name}?" for name in ALWAYS} & set(space.as_trial(config))
    numbers = Space(classification=False)
    assert len(numbers.portfolio(0)) == len(space.portfolio(0)) - 1, "smoothed labels alone make a start of their own"


def test_the_recipe_of_a_configuration_holds_the_parts_that_are_on_with_their_values() -> None:
    space = Space()
    config = space.config(0, ("dropout", "mixup", "clip_norm"), {"dropout.p": 0.4, "decay.rate": 1.0})
    recipe = space.recipe_of(config)
    assert {part.name for part in recipe} == {"dropout", "mixup", "clip_norm"}
    assert recipe.dials()["dropout.p"] == 0.4
    assert config.dials["decay.rate"] == 0.0
    assert math.isinf(config.dials["patience.evaluations"])
    assert len(space.recipe_of(space.config(0, ()))) == 0


def test_label_smoothing_is_for_classes_only_and_an_unknown_part_is_refused() -> None:
    assert "label_smoothing" not in Space(classification=False).names
    assert set(Space().names) == set(TABLE.parts)
    with pytest.raises(ArgumentError, match="dropuot"):
        Space(["dropuot"])


def test_a_bracket_leaves_all_but_two_rare_parts_off_the_same_way_each_time() -> None:
    space = Space()
    off = space.rare_off(16, seed=3)
    assert off == space.rare_off(16, seed=3)
    assert set(off.values()) == {False}
    assert len(off) == 4
    assert len({tuple(space.rare_off(number, seed=3)) for number in range(20)}) > 5
    assert Space(["dropout", "l1"]).rare_off(0, 0) == {}
