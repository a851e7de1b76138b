"""Centralised gradients against the projection (I - e e') of the paper, and the plane that descent then stays in."""

import pytest
import torch
from torch import nn

from poise import Recipe
from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.gradient import Centralize
from poise.testing import check_regularizer

ROLES = {"w": Role("weight"), "b": Role("bias"), "e": Role("embedding"), "n": Role("norm")}
CTX = Context(0, Rng(key(0)), roles=ROLES)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def central(share: float, **grads: torch.Tensor) -> dict[str, torch.Tensor]:
    return Centralize(share).gradient(grads, {}, CTX)[0]


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Centralize(0.5)).count >= 17


@pytest.mark.parametrize("shape", [(4, 7), (4, 3, 2, 2), (1, 5)])
def test_it_is_the_projection_along_the_vector_of_ones(shape: tuple[int, ...]) -> None:
    g = draw(*shape)
    flat = g.flatten(1)
    e = torch.ones(flat.shape[1], 1, dtype=g.dtype) / flat.shape[1] ** 0.5
    expected = (flat @ (torch.eye(len(e), dtype=g.dtype) - e @ e.T)).reshape(shape)
    torch.testing.assert_close(central(1.0, w=g)["w"], expected, rtol=1e-12, atol=1e-15)


def test_share_goes_part_of_the_way() -> None:
    g = draw(4, 7)
    torch.testing.assert_close(central(0.3, w=g)["w"].mean(1), 0.7 * g.mean(1), rtol=1e-12, atol=1e-15)


def test_vectors_and_other_roles_are_not_touched() -> None:
    g = draw(4, 7)
    found = central(1.0, w=g, b=g[0], e=g, n=g[1])
    assert torch.equal(found["b"], g[0])
    assert torch.equal(found["e"], g)
    assert torch.equal(found["n"], g[1])


def test_under_sgd_each_units_weights_keep_their_sum() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    before = model[0].weight.sum(1).detach()
    run = Recipe(Centralize()).start(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(20):
        run.objective((model(draw(5, 4)) - 1).square().mean()).backward()
        run.update(optimizer)
    torch.testing.assert_close(model[0].weight.sum(1).detach(), before, rtol=0, atol=1e-14)


def test_a_sparse_gradient_of_an_embedding_stays_sparse() -> None:
    sparse = torch.sparse_coo_tensor([[2, 0]], torch.tensor([[1.0, 3.0], [0.0, 4.0]]), (3, 2), check_invariants=True)
    found = Centralize(1.0, where="embeddings").gradient({"e": sparse}, {}, CTX)[0]["e"]
    assert found.is_sparse
    assert found.to_dense().tolist() == [[-2.0, 2.0], [0.0, 0.0], [-1.0, 1.0]]


def test_a_mean_that_bfloat16_cannot_hold_is_taken_away_exactly() -> None:
    g = torch.tensor([[1.0, 1.0 + 2**-7]], dtype=torch.bfloat16)  # neighbours in bfloat16
    assert central(1.0, w=g)["w"].tolist() == [[-(2**-8), 2**-8]]
