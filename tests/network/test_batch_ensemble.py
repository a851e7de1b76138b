"""BatchEnsemble: members against explicit networks, rows divided over members, and the mean of the members."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise import Recipe
from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.kinds import inserted_layers
from poise.core.rng import Rng, key
from poise.core.select import roles_of
from poise.network import BatchEnsemble
from poise.network.batch_ensemble import BatchEnsembleLayer
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square

pytestmark = pytest.mark.usefixtures("seeded")
MEMBERS = 3


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 4)).double()


def convolutional() -> nn.Sequential:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 2, groups=2), *head).double()


CASES = [(dense, (5,)), (convolutional, (2, 6, 6))]


def layers(model: nn.Module) -> list[BatchEnsembleLayer]:
    return [layer for _, layer in inserted_layers(model) if isinstance(layer, BatchEnsembleLayer)]


def explicit(bare: nn.Sequential, model: nn.Sequential, member: int) -> nn.Sequential:
    """A network of its own whose weights are W * outer(s, r), and biases s b; differentiable to W, b, r and s."""
    one = copy.deepcopy(bare)
    for place, host in enumerate(model):
        own = getattr(host, "poise_batch_ensemble", None)
        if own is not None:
            r, s = own.input_scale[member], own.output_scale[member]
            groups = getattr(host, "groups", 1)
            # Each group of outputs reads its own share of the input channels.
            read = r.reshape(groups, -1).repeat_interleave(len(s) // groups, 0)
            shape = (*host.weight.shape[:2], *[1] * (host.weight.dim() - 2))
            for name, value in (("weight", host.weight * (s[:, None] * read).reshape(shape)), ("bias", s * host.bias)):
                del one[place]._parameters[name]
                setattr(one[place], name, value)
        elif isinstance(host, nn.Linear):
            one[place] = host
    return one


def turn(step: int) -> int:
    return int(Rng(key(0, 0, step), "batch_ensemble").words("turn", 1) % MEMBERS)


def pair(build: Any) -> tuple[nn.Sequential, nn.Sequential]:
    bare = build()
    return bare, BatchEnsemble(members=MEMBERS, initial="normal").network(copy.deepcopy(bare))


def test_battery() -> None:
    check_regularizer(BatchEnsemble(0.5, members=3))
    check_regularizer(BatchEnsemble(0.5, where="weight layers", initial="normal"))


@pytest.mark.parametrize(("build", "shape"), CASES)
@pytest.mark.parametrize("step", range(3))
def test_training_rows_are_those_of_explicit_networks_gradients_too(build: Any, shape: Any, step: int) -> None:
    bare, model = pair(build)
    for layer in layers(model):
        layer.key = key(0, 0, step)
    x = torch.randn(9, *shape, dtype=torch.float64)
    members = [(row * MEMBERS // 9 + turn(step)) % MEMBERS for row in range(9)]
    slow = torch.cat([explicit(bare, model, member)(x[row : row + 1]) for row, member in enumerate(members)])
    fast = model(x)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    weights = torch.randn(9, 4, dtype=torch.float64)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad((fast * weights).sum(), parameters),
        torch.autograd.grad((slow * weights).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("build", "shape"), CASES)
@pytest.mark.parametrize("classes", [4, None])
def test_the_prediction_is_the_mean_of_explicit_networks(build: Any, shape: Any, classes: int | None) -> None:
    bare, model = pair(build)
    x = torch.randn(5, *shape, dtype=torch.float64)
    ctx = Context(0, Rng(key(0)), classes=classes)
    found = BatchEnsemble(members=MEMBERS).predict(model.eval(), ctx)(x)
    slow = torch.stack([explicit(bare, model, member)(x) for member in range(MEMBERS)])
    if classes is None:
        torch.testing.assert_close(found, slow.mean(0), rtol=1e-12, atol=1e-12)
    else:
        torch.testing.assert_close(found.softmax(-1), slow.softmax(-1).mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(x), slow[0], rtol=1e-12, atol=1e-12)  # and plain evaluation is member 0


def test_a_prediction_of_several_outputs_and_masked_classes_is_finite_where_it_should() -> None:
    part = BatchEnsemble(members=2)

    class Several(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": x, "b": torch.tensor([[0.0, -torch.inf]])}

    found = part.predict(Several(), Context(0, Rng(key(0)), classes=2))(torch.tensor([[1.0, 2.0]]))
    assert torch.equal(found["a"], torch.tensor([[1.0, 2.0]]))
    assert torch.equal(found["b"], torch.tensor([[0.0, -torch.inf]]))


def _visits(turns: list[int]) -> float:
    """The chance of so uneven visits of one row to the members."""
    counts = [turns.count(member) for member in range(MEMBERS)]
    return chi_square(counts, [len(turns) / MEMBERS] * MEMBERS)


def test_every_row_visits_every_member_alike_and_a_fixed_division_would_be_caught() -> None:
    assert _visits([turn(step) for step in range(30_000)]) > 1e-6
    assert _visits([0] * 30_000) < 1e-6


def test_rows_keep_their_member_through_layers_that_merge_rows_and_time() -> None:
    (layer,) = layers(BatchEnsemble(members=2).network(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))))
    layer.output_scale.data = torch.tensor([[1.0], [2.0]])
    by_row = layer(torch.ones(4, 3, 1))
    assert torch.equal(layer(torch.ones(12, 1)), by_row.reshape(12, 1))
    assert sorted(by_row[:, 0, 0].tolist()) == [1.0, 1.0, 2.0, 2.0]


def test_unbatched_inputs_are_one_row() -> None:
    model = BatchEnsemble(members=2).network(nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten(0), nn.Linear(12, 1)))
    assert model(torch.randn(2, 2, 2)).shape == (1,)


def test_vectors_have_the_role_of_norms_and_begin_at_signs_or_near_one() -> None:
    model = BatchEnsemble().network(dense())
    roles = {name: role.kind for name, role in roles_of(model).items() if "poise" in name}
    assert set(roles.values()) == {"norm"}
    assert len(roles) == 4
    assert set(layers(model)[0].input_scale.flatten().tolist()) == {-1.0, 1.0}
    near = layers(
        BatchEnsemble(initial="normal", members=50).network(nn.Sequential(nn.Linear(400, 2), nn.Linear(2, 1)))
    )
    assert float(near[0].input_scale.detach().mean()) == pytest.approx(1.0, abs=0.01)
    assert float(near[0].input_scale.detach().std()) == pytest.approx(0.1, abs=0.01)


def test_it_trains_in_a_run_and_its_predictor_is_better_than_its_first_member_at_rest() -> None:
    x = torch.randn(60, 5)
    run = Recipe(BatchEnsemble(members=3)).start(dense().float(), classes=4)
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    target = torch.arange(60) % 4
    for _ in range(3):
        run.objective(nn.functional.cross_entropy(run.model(x), target)).backward()
        run.update(optimizer)
    predict = run.predictor()
    every = []
    for member in range(3):
        for layer in layers(run.model.eval()):
            layer.member = member
        every.append(run.model(x).softmax(-1))
    torch.testing.assert_close(predict(x).softmax(-1), torch.stack(every).mean(0))


@pytest.mark.parametrize("members", [1, 0, True, 2.0, "4"])
def test_members_are_two_or_more(members: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`BatchEnsemble\.members` must be an int >= 2; got"):
        BatchEnsemble(members=members)


def test_initial_is_one_of_two_words() -> None:
    with pytest.raises(ArgumentError, match=r"`BatchEnsemble\.initial` must be one of signs, normal; got 'ones'"):
        BatchEnsemble(initial="ones")
