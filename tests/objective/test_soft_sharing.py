"""Soft sharing against a slow loop over the twins, and what is no twin."""

import pytest
import torch
from torch import nn

from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.core.select import roles_of
from poise.objective import SoftSharing


class Twins(nn.Module):
    def __init__(self, other: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunks = nn.ModuleDict({task: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)) for task in "abc"})
        if other is not None:
            self.trunks["b"] = other
        self.head = nn.Linear(4, 1)


def penalty(part: SoftSharing, model: nn.Module) -> torch.Tensor:
    params = dict(model.named_parameters())
    ctx = Context(0, Rng(key(0)), params=params, roles=roles_of(model))
    return part.objective({"data": torch.tensor(0.0)}, part.remember(params), ctx)[0][part.name]


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("twins", [("a", "b"), ("a", "b", "c")])
def test_it_is_half_the_squared_distance_of_every_pair(twins: tuple[str, ...]) -> None:
    model = Twins().double()
    expected = 0.0
    for place, one in enumerate(twins):
        for other in twins[place + 1 :]:
            gap = model.trunks[one][0].weight - model.trunks[other][0].weight
            expected += 0.3 / 2 * float(gap.detach().square().sum())
    part = SoftSharing(0.3, modules=tuple(f"trunks.{task}" for task in twins))
    assert float(penalty(part, model).detach()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("seeded")
def test_its_gradient_is_weight_times_the_difference() -> None:
    model = Twins().double()
    penalty(SoftSharing(0.3, modules=("trunks.a", "trunks.b")), model).backward()
    one, other = model.trunks["a"][0].weight, model.trunks["b"][0].weight
    torch.testing.assert_close(one.grad, 0.3 * (one - other).detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other.grad, 0.3 * (other - one).detach(), rtol=1e-12, atol=1e-12)
    assert model.trunks["c"][0].weight.grad is None


@pytest.mark.usefixtures("seeded")
def test_equal_twins_cost_nothing() -> None:
    model = Twins()
    model.trunks["b"].load_state_dict(model.trunks["a"].state_dict())
    assert float(penalty(SoftSharing(5.0, modules=("trunks.a", "trunks.b"), where="all"), model).detach()) == 0.0


@pytest.mark.usefixtures("seeded")
def test_a_path_is_not_taken_for_another_that_begins_like_it() -> None:
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("net", "other", "net2")})
    both = penalty(SoftSharing(1.0, modules=("net", "other")), model).detach()
    gap = (model["net"].weight - model["other"].weight).detach()
    assert float(both) == pytest.approx(float(gap.square().sum() / 2))


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(
    "other",
    [nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5)), nn.Linear(3, 4), nn.Identity()],
    ids=["shape", "names", "empty"],
)
def test_modules_that_do_not_correspond_are_refused_at_the_start(other: nn.Module) -> None:
    recipe = Recipe(SoftSharing(modules=("trunks.a", "trunks.b")))
    with pytest.raises(ArgumentError, match=r"`SoftSharing.modules` must be modules of equal trainable parameters"):
        recipe.start(Twins(other))


@pytest.mark.usefixtures("seeded")
def test_a_path_that_is_not_there_is_refused_at_the_start() -> None:
    with pytest.raises(ArgumentError, match=r"of equal trainable parameters; got 'trunks.x' with \{\}"):
        Recipe(SoftSharing(modules=("trunks.a", "trunks.x"))).start(Twins())


@pytest.mark.usefixtures("seeded")
def test_a_selection_that_only_one_twin_has_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`SoftSharing.where` must select the same parameters in each module"):
        penalty(SoftSharing(modules=("trunks.a", "trunks.b"), where="inputs"), Twins())


@pytest.mark.parametrize("modules", [("a",), (), ("a", "a"), "ab", ("a", ""), ("a", 1)])
def test_fewer_than_two_paths_are_refused(modules: object) -> None:
    with pytest.raises(
        ArgumentError, match=r"`SoftSharing.modules` must be two or more distinct paths of modules; got"
    ):
        SoftSharing(modules=modules)  # type: ignore[arg-type]
