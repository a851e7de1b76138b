"""Tied weights: gradients are sums over uses, and decay, penalties, optimizers and copies see one parameter."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import L2, ArgumentError, Decay, Ema, Recipe, tie
from poise.core.select import roles_of
from poise.train.losses import CrossEntropy
from poise.train.optimizers import Sgd
from poise.train.population import Population, Rows

pytestmark = pytest.mark.usefixtures("seeded")


class Words(nn.Module):
    """A language model of one word: the head's matrix may be the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)

    def forward(self, words: Tensor) -> Tensor:
        answer: Tensor = self.head(torch.tanh(self.embedding(words)))
        return answer


WORDS, NEXT = torch.tensor([0, 1, 1, 4]), torch.tensor([2, 3, 0, 1])


def tied() -> Words:
    model = Words()
    tie(model, "embedding.weight", "head.weight")
    return model


def is_tied(model: Any) -> bool:
    return model.head.weight is model.embedding.weight


def loss(model: nn.Module) -> Tensor:
    return F.cross_entropy(model(WORDS), NEXT)


def test_the_gradient_is_the_sum_of_the_copies_gradients() -> None:
    model, apart = tied().double(), Words().double()
    apart.load_state_dict(model.state_dict())
    for one in (model, apart):
        loss(one).backward()
    copies = apart.embedding.weight.grad + apart.head.weight.grad
    assert torch.allclose(model.embedding.weight.grad, copies, rtol=0, atol=1e-15)


def test_it_is_one_parameter_in_the_role_of_its_first_name() -> None:
    assert {name: role.kind for name, role in roles_of(tied()).items()} == {"embedding.weight": "embedding"}
    assert [name for name, _ in tied().named_parameters()] == ["embedding.weight"]


def test_it_is_penalised_once() -> None:
    model = tied()
    total = Recipe(L2(2.0, where="embeddings")).start(model).objective(torch.zeros(()))
    assert float(total.detach()) == pytest.approx(float(model.embedding.weight.detach().square().sum()), rel=1e-6)


def test_it_is_decayed_and_stepped_once() -> None:
    model = tied()
    before = model.embedding.weight.detach().clone()
    run = Recipe(Decay(0.5, where="all"), Ema(0.9)).start(model)
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    run.objective(loss(run.model)).backward()
    grad = model.embedding.weight.grad.clone()
    run.update(optimizer)
    assert torch.allclose(model.embedding.weight, before * 0.95 - 0.1 * grad, atol=1e-6)
    with run.evaluation() as evaluated:
        assert is_tied(evaluated)
    assert is_tied(run.predictor())


def test_copies_pickles_and_loading_keep_the_tie() -> None:
    model, fresh = tied(), tied()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    for one in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fresh, copy.deepcopy(model).double()):
        assert is_tied(one)
        assert torch.equal(one.head.weight.float(), model.head.weight)


def test_an_assigned_state_unties_and_tie_ties_again() -> None:
    model, other = tied(), tied()
    model.load_state_dict(other.state_dict(), assign=True)
    tie(model, "embedding.weight", "head.weight")
    assert is_tied(model)


def test_a_run_resumes_to_the_bit() -> None:
    def trained(stop_at: int | None) -> Tensor:
        torch.manual_seed(1)
        run = Recipe(Decay(0.1, where="all")).start(tied())
        optimizer = torch.optim.Adam(run.model.parameters(), lr=0.1)
        for step in range(6):
            if step == stop_at:
                states = run.model.state_dict(), optimizer.state_dict(), run.state_dict()
                run = Recipe(Decay(0.1, where="all")).start(tied())
                optimizer = torch.optim.Adam(run.model.parameters(), lr=0.1)
                for one, state in zip((run.model, optimizer, run), copy.deepcopy(states), strict=True):
                    one.load_state_dict(state)
            run.objective(loss(run.model)).backward()
            run.update(optimizer)
        return run.model.head.weight.detach()

    assert torch.equal(trained(3), trained(None))


def test_a_population_steps_and_decays_it_once() -> None:
    rows = Rows(WORDS, F.one_hot(NEXT, 5).float())
    recipe = Recipe(Decay(0.5, where="all"))
    population = Population(tied, recipe, CrossEntropy(), lr=[0.1] * 2, members=[0, 1], optimizer=Sgd(0.0))
    before = {name: weights.clone() for name, weights in population.weights().items()}
    population.train(rows, 1, 4)
    assert list(before) == ["embedding.weight"]
    for member, weight in enumerate(before["embedding.weight"]):
        model = tied()
        model.load_state_dict({"embedding.weight": weight, "head.weight": weight})
        loss(model).backward()
        expected = weight * 0.95 - 0.1 * model.embedding.weight.grad
        assert torch.allclose(population.weights()["embedding.weight"][member], expected, atol=1e-6)


def test_several_names_are_tied_at_once() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    assert tie(model, "0.weight", "1.weight", "2.weight") is model
    assert model[0].weight is model[1].weight is model[2].weight
    assert len(list(model.parameters())) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("embedding.weight", "head.bias"), "must name parameters of the model; got 'head.bias'"),
        (("nothing.weight", "head.weight"), "got 'nothing.weight'"),
    ],
)
def test_unknown_names_are_told(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        tie(Words(), *names)


def test_another_shape_is_refused_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3))
    with pytest.raises(ArgumentError, match=r"2\.weight of"):
        tie(model, "0.weight", "1.weight", "2.weight")
    assert model[0].weight is not model[1].weight
