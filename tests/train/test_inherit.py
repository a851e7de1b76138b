"""Members that take over others' weights and state: against training that the donor goes on with itself."""

import pytest
import torch
from torch.nn import functional as F

from poise import ArgumentError, Decay, Dropout, Ema, Patience, Recipe
from poise.core.context import Batch
from poise.models.tabular import Mlp
from poise.train.inherit import inherit
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

X = torch.randn(80, 5, generator=torch.Generator().manual_seed(0))
DATA = Rows(X, F.one_hot((X.sum(1) > 0).long(), 2).float())
RATES = torch.tensor([1e-3, 3e-3, 1e-2])
DROPS = torch.tensor([0.0, 0.2, 0.4])


def made(members: tuple[int, ...] = (0, 1, 2)) -> Population:
    return Population(
        lambda: Mlp(5, 2, width=8, depth=1),
        Recipe(Dropout(), Decay(0.01), Ema(0.9), Patience(3)),
        CrossEntropy(),
        lr=RATES[: len(members)],
        dials={"dropout.p": DROPS[: len(members)]},
        members=members,
        classes=2,
    )


def score(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
    return -(batch.targets * outputs.log_softmax(-1)).sum(-1).mean(-1)


def trained(population: Population, rounds: int) -> Population:
    for _ in range(rounds):
        population.train(DATA, 3, 16)
        population.evaluate(DATA, score)
    return population


def test_a_heir_has_all_of_its_donor_and_the_others_are_as_they_were() -> None:
    one, other = trained(made(), 2), trained(made(), 2)
    inherit(one, [2, 1, 2], lr=RATES, dials={"dropout.p": DROPS})
    assert one.state.flat.data.equal(other.state.flat.data[[2, 1, 2]])
    for name, tensor in one.state.optimizer.items():
        assert tensor.equal(other.state.optimizer[name][[2, 1, 2]])
    assert one.best_step.equal(other.best_step[[2, 1, 2]])
    for name, weight in one.weights().items():
        assert weight.equal(other.weights()[name][[2, 1, 2]])
    trained(one, 1)
    trained(other, 1)
    assert one.state.flat.data[1:].equal(other.state.flat.data[1:])  # who kept its weights goes on bit for bit


def test_a_heir_trains_on_with_its_own_draws_and_the_dials_it_was_given() -> None:
    plain = Population(lambda: Mlp(5, 2, width=8, depth=1), Recipe(Decay(0.01)), CrossEntropy(), lr=[1e-2, 1e-2],
                       dials={"decay.rate": torch.tensor([0.5, 0.1])}, members=[0, 1])  # fmt: skip
    plain.train(DATA, 4, 16)
    before = plain.state.flat.data.clone()
    inherit(plain, [0, 0], lr=torch.tensor([1e-2, 0.0]), dials={"decay.rate": torch.tensor([0.5, 0.1])})
    plain.train(DATA, 4, 16)
    assert plain.state.flat.data[1].equal(before[0])  # at a rate of 0 it stands where its donor stood
    assert not plain.state.flat.data[0].equal(before[0])
    assert not plain.state.keys[0].equal(plain.state.keys[1])


def test_its_own_donor_with_its_own_dials_is_training_on() -> None:
    one, other = trained(made(), 1), trained(made(), 1)
    inherit(one, [0, 1, 2], lr=RATES, dials={"dropout.p": DROPS})
    assert trained(one, 2).state.flat.data.equal(trained(other, 2).state.flat.data)


@pytest.mark.parametrize("donors", [[0, 1], [0, 1, 3], [0, 1, -1]])
def test_donors_that_are_none_are_refused(donors: list[int]) -> None:
    with pytest.raises(ArgumentError, match=r"`inherit` must get a donor's place in 0 \.\. 2"):
        inherit(made(), donors, lr=RATES, dials={"dropout.p": DROPS})


@pytest.mark.parametrize("dials", [{}, {"dropout.p": DROPS, "decay.rate": DROPS}])
def test_other_dials_than_the_population_has_are_refused(dials: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ArgumentError, match="the dials that the population was made with"):
        inherit(made(), [0, 1, 2], lr=RATES, dials=dials)
