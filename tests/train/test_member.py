"""A member of a population is the network that it would be alone: bit for bit, on one thread, with every part on.

Two facts about matrix products bound this, both tested here. MKL's sums depend on the memory alignment of a matrix
unless MKL_CBWR is set, which `import poise` does. And torch multiplies a single matrix by a single column in another
way than several: a population of one member with one output differs from larger ones in the last bits.
"""

from typing import Any

import pytest
import torch

from poise import BatchNorm, Dropout, Ema, Mixup, Recipe
from poise.models.tabular import Mlp
from poise.train.losses import SquaredError
from poise.train.population import Population, Rows


def owned(population: Population, place: int) -> dict[str, torch.Tensor]:
    """Everything that belongs to one member."""
    found = {f"weight/{name}": tensor[place] for name, tensor in population.state.flat.views().items()}
    found |= {f"evaluated/{name}": tensor[place] for name, tensor in population.weights().items()}
    found |= {f"buffer/{name}": tensor[place] for name, tensor in population.state.buffers.items()}
    for kind in ("weights", "buffers"):
        found |= {f"best/{name}": tensor[place] for name, tensor in population.best[kind].items()}
    found |= {f"optimizer/{name}": tensor[place] for name, tensor in population.state.optimizer.items()}
    for part, memory in population.state.memory.items():
        found |= {f"{part}/{name}": tensor[place] for name, tensor in memory.items()}
    facts = ("best_score", "best_step", "stopped", "diverged")
    return found | {fact: getattr(population, fact)[place] for fact in facts}


def different(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.mark.parametrize("rows", [20, 33, 128])
@pytest.mark.parametrize("width", [7, 10, 16, 33, 100])
@pytest.mark.parametrize("outputs", [1, 3, 16])
def test_batched_products_do_not_depend_on_place_and_number_of_members(rows: int, width: int, outputs: int) -> None:
    left, right = torch.randn(6, rows, width), torch.randn(6, width, outputs)
    up = torch.bmm(left, right)
    down = torch.bmm(left.transpose(1, 2), up)
    for first, members in ((3, 2), (1, 5), (5, 1)):
        if (members, outputs) != (1, 1):
            mine = slice(first, first + members)
            assert torch.equal(torch.bmm(left[mine].clone(), right[mine].clone()), up[mine])
            assert torch.equal(torch.bmm(left[mine].clone().transpose(1, 2), up[mine].clone()), down[mine])


def test_one_member_with_one_output_differs_from_more_members_in_the_last_bits_only(table: Rows) -> None:
    numbers = Rows(table.inputs, table.inputs[:, :1])

    def train(members: list[int]) -> torch.Tensor:
        population = Population(
            lambda: Mlp(7, 1, width=16), Recipe(Dropout(0.1)), SquaredError(), lr=[1e-3] * len(members), members=members
        )
        population.train(numbers, 10, 20)
        return population.state.flat.data

    several, pair, one = train([0, 1, 2]), train([0, 1]), train([1])
    assert torch.equal(several[:2], pair)
    assert torch.allclose(several[1], one[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [10, 16, 33, 64])
@pytest.mark.parametrize("members", [2, 5, 16])
def test_a_member_equals_the_same_recipe_trained_alone(
    members: int, width: int, made: Any, trained: Any, tools: Any
) -> None:
    settings = tools["spread"](members)
    together = trained(made(width, **settings))
    for place in sorted({0, 1, members - 1}):
        alone = trained(made(width, **tools["chosen"](settings, [place])))
        assert different(owned(together, place), owned(alone, 0)) == []


def test_neighbours_in_another_order_change_nothing(made: Any, trained: Any, tools: Any) -> None:
    settings = tools["spread"](5)
    order = [3, 0, 4, 1, 2]
    first, second = trained(made(**settings)), trained(made(**tools["chosen"](settings, order)))
    for place, member in enumerate(order):
        assert different(owned(first, member), owned(second, place)) == []


def test_pruning_and_going_on_equals_never_pruning(made: Any, trained: Any, tools: Any) -> None:
    settings = tools["spread"](5)
    whole = trained(made(**settings))
    pruned = trained(made(**settings), rounds=2)
    pruned.keep([4, 1])
    assert pruned.members == [4, 1]
    assert len(pruned) == 2
    trained(pruned, rounds=2)
    for place, member in enumerate([4, 1]):
        assert different(owned(whole, member), owned(pruned, place)) == []


def test_pruning_in_the_middle_of_an_epoch_equals_never_pruning(made: Any, table: Rows, tools: Any) -> None:
    settings = tools["spread"](3)
    whole, pruned = made(**settings), made(**settings)
    whole.train(table, 7, 20)
    pruned.train(table, 3, 20)
    pruned.keep([2])
    pruned.train(table, 4, 20)
    assert torch.equal(whole.state.flat.data[2], pruned.state.flat.data[0])


def test_a_neighbour_that_diverges_is_marked_and_changes_nothing(made: Any, trained: Any, tools: Any) -> None:
    settings = tools["spread"](3)
    calm = trained(made(**settings))
    wild = made(**settings)
    with torch.no_grad():
        wild.state.flat.data[1] = torch.nan
    trained(wild)
    assert wild.diverged.tolist() == [False, True, False]
    assert wild.best_score[1] == torch.inf
    for place in (0, 2):
        assert different(owned(calm, place), owned(wild, place)) == []


def test_parts_left_out_as_neutral_equal_parts_forced_in(
    made: Any, trained: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    neutral = {name: torch.full((2,), dial.neutral) for name, dial in tools["everything"]().declared().items()}
    left_out = trained(made(lr=[1e-3, 2e-3], dials=neutral))
    assert len(left_out.program.recipe) == 0
    monkeypatch.setattr(Population, "_pass_by_neutral", lambda self: None)
    forced = trained(made(lr=[1e-3, 2e-3], dials=neutral))
    assert len(forced.program.recipe) == 15
    for place in (0, 1):
        ours, theirs = owned(left_out, place), owned(forced, place)
        # What a part remembers and counts is its own; what is predicted with must be equal.
        compared = [name for name in ours if name.split("/")[0] in ("weight", "evaluated", "best", "optimizer")]
        assert [n for n in compared if "running" not in n and not torch.equal(ours[n], theirs[n])] == []
    assert torch.equal(left_out.outputs(torch.ones(4, 7)), forced.outputs(torch.ones(4, 7)))


def test_a_part_that_becomes_neutral_by_pruning_is_left_out_and_changes_nothing(made: Any, trained: Any) -> None:
    recipe = Recipe(BatchNorm(), Dropout(0.5), Mixup(0.4), Ema(0.9))
    dials = {"dropout.p": torch.tensor([0.0, 0.5]), "ema.decay": torch.tensor([0.0, 0.9]),
             "mixup.share": torch.tensor([0.0, 1.0])}  # fmt: skip
    settings = {"lr": [1e-3, 1e-3], "dials": dials, "recipe": recipe}
    whole, pruned = trained(made(**settings)), trained(made(**settings), rounds=2)
    pruned.keep([0])
    assert "dropout" not in pruned.program.recipe
    trained(pruned, rounds=2)
    assert torch.equal(whole.weights()["layers.0.weight"][0], pruned.weights()["layers.0.weight"][0])
    assert torch.equal(whole.outputs(torch.ones(4, 7))[0], pruned.outputs(torch.ones(4, 7))[0])
