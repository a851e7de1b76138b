"""A population saved at any step and loaded into a new one goes on as if it had never been cut."""

import io
from typing import Any

import pytest
import torch

from poise import BatchNorm, CheckpointError, Cosine, Decay, Dropout, Ema, Mixup, Patience, Recipe
from poise.core.trees import Tree
from poise.models.tabular import Mlp
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

STEPS, EVERY, SIZE = 95, 4, 20  # 4 batches an epoch: some stops are within one, some between


def made(seed: int = 3, width: int = 6, decay: float = 0.1, members: tuple[int, ...] = (0, 1, 2)) -> Population:
    share = torch.tensor(members) / 10
    return Population(
        lambda: Mlp(7, 3, width=width, depth=1),
        Recipe(BatchNorm(), Dropout(0.3), Mixup(0.4), Decay(decay), Ema(0.9), Patience(6)),
        CrossEntropy(),
        lr=(0.1 * (1 + share)).tolist(),
        dials={"dropout.p": share, "ema.decay": 0.5 + share, "patience.evaluations": 1 + 40 * share},
        members=list(members),
        seed=seed,
        schedule=Cosine(1.0, 0.0, steps=STEPS),
        classes=3,
    )


def advance(population: Population, table: Rows, score: Any, last: int) -> None:
    while population.state.step < last:
        population.train(table, 1, SIZE)
        if population.state.step % EVERY == 0:
            population.evaluate(table, score)


def saved(population: Population) -> bytes:
    file = io.BytesIO()
    torch.save(population.state_dict(), file)
    return file.getvalue()


def loaded(data: bytes, **arguments: Any) -> Population:
    population = made(**arguments)
    population.load_state_dict(torch.load(io.BytesIO(data), weights_only=True))
    return population


def differing(first: Tree, second: Tree, path: str = "") -> list[str]:
    """Paths at which two states are not equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [path]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [found for name in first for found in differing(first[name], second[name], f"{path}/{name}")]
    if isinstance(first, (list, tuple)):
        pairs = enumerate(zip(first, second, strict=True))
        return [found for place, pair in pairs for found in differing(*pair, f"{path}/{place}")]
    return [] if first == second else [path]


@pytest.fixture(scope="module")
def states(table: Rows, tools: dict[str, Any]) -> list[bytes]:
    """The state after each step of an uninterrupted training run."""
    population, found = made(), []
    for step in range(STEPS + 1):
        advance(population, table, tools["mean_loss"], step)
        found.append(saved(population))
    return found


def test_the_example_uses_everything_that_is_saved(states: list[bytes]) -> None:
    end = torch.load(io.BytesIO(states[-1]), weights_only=True)
    assert end["stopped"].tolist() == [True, False, False]
    assert end["best_step"][0] < STEPS - 20
    assert end["epoch_order"][0] == (STEPS - 1) // 4
    assert not differing(end["restated"], end["restated"])
    assert differing(end["restated"], end["buffers"])


def check_cut(stop: int, last: int, states: list[bytes], table: Rows, score: Any) -> None:
    population = loaded(states[stop])
    assert not differing(population.state_dict(), torch.load(io.BytesIO(states[stop]), weights_only=True))
    advance(population, table, score, last)
    assert not differing(population.state_dict(), torch.load(io.BytesIO(states[last]), weights_only=True))


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_cut_at_a_step_it_goes_on_as_if_it_had_not_been(
    stop: int, states: list[bytes], table: Rows, tools: dict[str, Any]
) -> None:
    # Five steps hold an evaluation and an epoch's end; from there the next stop's test goes on.
    check_cut(stop, min(stop + 5, STEPS), states, table, tools["mean_loss"])


@pytest.mark.parametrize("stop", [1, 20, 50, 83])
def test_cut_at_a_step_it_ends_as_if_it_had_not_been(
    stop: int, states: list[bytes], table: Rows, tools: dict[str, Any]
) -> None:
    check_cut(stop, STEPS, states, table, tools["mean_loss"])


@pytest.mark.campaign
@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_cut_at_any_step_it_ends_as_if_it_had_not_been(
    stop: int, states: list[bytes], table: Rows, tools: dict[str, Any]
) -> None:
    check_cut(stop, STEPS, states, table, tools["mean_loss"])


@pytest.mark.parametrize("left_out", ["flat", "buffers", "optimizer", "memory", "best", "keys", "step"])
def test_each_part_of_the_state_is_needed(
    left_out: str, states: list[bytes], table: Rows, tools: dict[str, Any]
) -> None:
    """The wrong saver that the tests above must catch: one that forgets a part.

    Not in the list are `lr` and `averaged`: each step makes them anew.
    """
    population, fresh = made(), made().state_dict()
    advance(population, table, tools["mean_loss"], 4)
    fresh["best"] = population.state_dict()["best"]  # an early one: a new population has none
    state = torch.load(io.BytesIO(states[90]), weights_only=True)
    cut = made()
    cut.load_state_dict(state | {left_out: fresh[left_out]})
    advance(cut, table, tools["mean_loss"], STEPS)
    assert differing(cut.state_dict(), torch.load(io.BytesIO(states[STEPS]), weights_only=True))


def test_between_training_and_evaluation_the_batch_statistics_are_kept(table: Rows, tools: dict[str, Any]) -> None:
    population = made()
    population.train(table, 7, SIZE)
    again = loaded(saved(population))
    scores = [one.evaluate(table, tools["mean_loss"]) for one in (population, again)]
    assert torch.equal(*scores)


def test_survivors_are_taken_up_where_they_were_left(table: Rows, tools: dict[str, Any]) -> None:
    population = made()
    advance(population, table, tools["mean_loss"], 6)
    population.keep([2, 0])
    again = loaded(saved(population))
    assert again.members == [2, 0]
    for one in (population, again):
        advance(one, table, tools["mean_loss"], 17)
    assert not differing(again.state_dict(), population.state_dict())
    assert torch.equal(again.outputs(table.inputs, best=True), population.outputs(table.inputs, best=True))
    assert not differing(again.stack().weights, population.stack().weights)


def test_what_is_loaded_is_not_shared(states: list[bytes], table: Rows) -> None:
    state = torch.load(io.BytesIO(states[50]), weights_only=True)
    population = made()
    population.load_state_dict(state)
    population.train(table, 3, SIZE)
    assert not differing(state, torch.load(io.BytesIO(states[50]), weights_only=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 4}, "state of the same seed"),
        ({"decay": 0.2}, "state of the same recipe"),
        ({"width": 7}, "state of the same shapes"),
        ({"members": (0, 1)}, r"members of this population, \[0, 1\]; got \[2\]"),
    ],
)
def test_another_populations_state_is_refused(arguments: Any, message: str, states: list[bytes]) -> None:
    with pytest.raises(CheckpointError, match=message):
        loaded(states[9], **arguments)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.pop("keys"), "without keys: it is damaged"),
        (lambda state: state.update(memory={}), "another memory"),
        (lambda state: state["optimizer"].update(first=torch.zeros(3, 5)), "another optimizer"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage: Any, message: str, states: list[bytes]) -> None:
    state = torch.load(io.BytesIO(states[9]), weights_only=True)
    damage(state)
    population = made()
    before = population.state_dict()
    with pytest.raises(CheckpointError, match=message):
        population.load_state_dict(state)
    assert not differing(population.state_dict(), before)


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(CheckpointError, match="without its parts"):
        made().load_state_dict(None)  # type: ignore[arg-type]
