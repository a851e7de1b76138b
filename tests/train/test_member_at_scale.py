"""A member's weights do not depend on how many others train with it: populations of 1, 16, 256 and 4,096 members.

One thread, every part on. Two networks: one that C kernels train whole, and one that only torch's operations can.

Two exceptions, both in the last bits. Exactly one member with exactly one output: see `test_member.py`. And torch
computes softplus, sigmoid, silu, mish and elu of the last few elements of a tensor, those that fill no vector, by
another routine than the rest: whose elements these are depends on the number of members. ReLU, tanh, exp and GELU are
free of that, and so are poise's own kernels.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from poise import Recipe
from poise.models.tabular import Mlp
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

MOST = 4096
WATCHED = [0, 1, 7, 15, 100, 255, 2048, MOST - 1]

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: Mlp(7, 3, width=8, depth=2),
    "plain": lambda: nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 3)),
}


def settings(tools: Any, members: int) -> dict[str, Any]:
    """Rates and dials that repeat every eight ids; seeds, by ids, do not."""
    every: dict[str, Any] = tools["chosen"](tools["spread"](8), [member % 8 for member in range(members)])
    return every | {"members": list(range(members))}


def train(build: Callable[[], nn.Module], recipe: Recipe, table: Rows, given: dict[str, Any]) -> Population:
    population = Population(build, recipe, CrossEntropy(), classes=3, **given)
    population.train(table, 6, 20)  # four batches an epoch: the second epoch is begun
    return population


def only(given: dict[str, Any], member: int) -> dict[str, Any]:
    return {
        "lr": [given["lr"][member]],
        "dials": {name: value[[member]] for name, value in given["dials"].items()},
        "members": [given["members"][member]],
    }


def tensors(population: Population, place: int) -> dict[str, torch.Tensor]:
    state = population.state
    found = {"weights": state.flat.data[place], **{name: one[place] for name, one in population.weights().items()}}
    found |= {f"buffer {name}": one[place] for name, one in state.buffers.items()}
    return found | {f"optimizer {name}": one[place] for name, one in state.optimizer.items()}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("members", [16, 256, pytest.param(MOST, marks=pytest.mark.campaign)])
def test_a_member_of_many_is_the_one_that_it_would_be_alone(
    members: int, network: str, table: Rows, tools: Any
) -> None:
    build, recipe, given = NETWORKS[network], tools["everything"](), settings(tools, members)
    many = train(build, recipe, table, given)
    assert len({tuple(row.tolist()) for row in many.state.flat.data[:8]}) == 8  # they are not one network
    assert not many.diverged.any()
    for member in [member for member in WATCHED if member < members]:
        alone = train(build, recipe, table, only(given, member))
        mine, its = tensors(many, member), tensors(alone, 0)
        assert mine.keys() == its.keys()
        assert [name for name in mine if not torch.equal(mine[name], its[name])] == []


@pytest.mark.parametrize("network", NETWORKS)
def test_predictions_do_not_depend_on_the_number_of_members_either(network: str, table: Rows, tools: Any) -> None:
    build, recipe = NETWORKS[network], tools["everything"]()
    given = settings(tools, 256)
    many = train(build, recipe, table, given).stack().outputs(table.inputs)
    few = train(build, recipe, table, settings(tools, 16)).stack().outputs(table.inputs)
    assert torch.equal(many[:16], few)
    for member in (0, 15, 255):
        alone = train(build, recipe, table, only(given, member)).stack().outputs(table.inputs)
        assert torch.equal(many[member], alone[0])


@pytest.mark.parametrize("activation", [nn.Softplus, nn.Sigmoid, nn.SiLU, nn.Mish, nn.ELU])
def test_activations_with_another_routine_for_the_last_elements_differ_in_the_last_bits_only(
    activation: Callable[[], nn.Module], table: Rows, tools: Any
) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(7, 7), activation(), nn.Linear(7, 3))  # 20 rows of 7 fill no whole vectors

    given = settings(tools, 16)
    many = train(build, Recipe(), table, {"lr": given["lr"]})
    for member in (0, 15):
        alone = train(build, Recipe(), table, {"lr": [given["lr"][member]], "members": [member]})
        assert torch.allclose(many.state.flat.data[member], alone.state.flat.data[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("function", [torch.relu, torch.tanh, torch.exp, nn.functional.gelu])
@pytest.mark.parametrize("count", [33, 80, 719, 720])
def test_these_activations_do_not_depend_on_what_stands_beside_them(function: Any, count: int) -> None:
    several = torch.linspace(-3, 3, 5 * count).reshape(5, count)
    found = function(several)
    assert all(torch.equal(function(several[place].clone()), found[place]) for place in range(5))
