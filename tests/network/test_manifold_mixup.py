"""Manifold mixup: one site a step mixes, by the partner and share that the targets take."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from poise import Mixup, RDrop
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.kinds import inserted_layers
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.network import ManifoldMixup, remove
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square, kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")

ROWS = 16


class Watched(nn.Module):
    """A network of identities, which tells where in it rows were mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.ReLU(), nn.ReLU(), nn.Linear(1, 1, bias=False)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen = [x]
        for layer in (self.first, self.second):
            x = layer(x)
            self.seen.append(x)
        return x


def rows(count: int = ROWS) -> Tensor:
    return torch.arange(1.0, count + 1)[:, None]


def test_battery_of_the_majority() -> None:
    check_regularizer(ManifoldMixup(1.5, 0.7, inputs=False, majority=True))


def test_every_step_mixes_at_one_site_as_the_targets_are_and_each_site_gets_its_turn() -> None:
    """The network is the identity, so its outputs are the mixed rows: they must be the mixed targets."""
    run = Recipe(ManifoldMixup()).start(Watched(), seed=3)
    optimizer = torch.optim.SGD(run.model.parameters(), 0.0)
    places = []
    for _ in range(60):
        x, y = run.batch(rows(), rows())
        out = run.model(x)
        torch.testing.assert_close(out, y)
        assert torch.equal(x, rows())
        mixed = [not torch.equal(value, rows()) for value in run.model.seen]
        assert mixed == sorted(mixed)  # from one site on, and never again: the shares above would differ
        places.append(mixed.index(True))
        run.objective((run.model.last.weight * out).sum(), outputs=out).backward()
        run.update(optimizer)
    assert set(places) == {0, 1, 2}


def test_sites_are_uniform_and_a_wrong_law_is_caught() -> None:
    steps = 600
    model = ManifoldMixup().network(Watched())
    layers = [layer for _, layer in inserted_layers(model)]
    counts = [0, 0, 0]
    for step in range(steps):
        for layer in layers:
            layer.key = key(0, 0, step)
        model(rows(3))
        mixed = [not torch.equal(value, rows(3)) for value in model.seen]
        if True in mixed:
            counts[mixed.index(True)] += 1
    assert sum(counts) > 0.9 * steps * (1 - 1 / 6)  # a permutation of three is the identity once in six
    assert chi_square(counts, [sum(counts) / 3] * 3) > 1e-6
    assert chi_square(counts, [sum(counts) * p for p in (0.2, 0.2, 0.6)]) < 1e-6


def test_lambda_is_drawn_for_each_row_by_the_beta_law() -> None:
    part, count = ManifoldMixup(alpha=1.0), 4000
    ctx = Context(0, Rng(key(0))).within(part.name)
    tagged = torch.eye(2)[torch.arange(count) % 2].double()
    mixed, _ = part.batch(Batch(tagged, tagged), {}, ctx)
    other = mixed.targets[:, 1] + tagged[:, 1] * (1 - 2 * mixed.targets[:, 1])
    crossed = other[(other > 0) & (other < 1)]  # rows whose partner is of the other class
    assert len(crossed) > 1500
    assert kolmogorov(crossed) > 1e-6
    assert kolmogorov(torch.maximum(crossed, 1 - crossed)) < 1e-6


def test_without_the_input_and_at_one_site_it_is_mixup_of_that_layer() -> None:
    part = ManifoldMixup(1.0, inputs=False, name="mixup")
    model = part.network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    hidden = torch.relu(model[0](torch.rand(ROWS, 2)))
    ctx = Context(0, Rng(key(0))).within("mixup")
    targets = torch.rand(ROWS, 2)
    expected, _ = Mixup(1.0).batch(Batch(hidden, targets), {}, ctx)
    torch.testing.assert_close(model[1](hidden), expected.inputs)
    mixed, _ = part.batch(Batch(hidden, targets), {}, ctx)
    assert torch.equal(mixed.targets, expected.targets)
    assert torch.equal(mixed.inputs, hidden)


def test_row_weights_and_the_targets_of_tasks_are_mixed_alike() -> None:
    part, number = ManifoldMixup(), torch.arange(float(ROWS))
    ctx = Context(0, Rng(key(0))).within(part.name)
    mixed, _ = part.batch(Batch(number, {"a": number, "b": 2 * number}, number), {}, ctx)  # type: ignore[arg-type]
    assert torch.equal(mixed.targets["b"], 2 * mixed.targets["a"])  # type: ignore[call-overload]
    torch.testing.assert_close(mixed.weights, mixed.targets["a"])  # type: ignore[call-overload]


def test_a_second_pass_of_the_step_mixes_as_the_first() -> None:
    """R-Drop compares two passes: without dropout they must be one, or it would punish the mixing."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
    run = Recipe(ManifoldMixup(), RDrop(1.0)).start(network, seed=0, classes=3)
    x, y = run.batch(torch.rand(ROWS, 2), torch.arange(ROWS) % 3)
    out = run.model(x)
    run.objective(F.cross_entropy(out, y), outputs=out)
    assert float(run.terms["r_drop"]) == 0


def test_a_site_that_is_called_twice_mixes_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            first: Tensor = self.activation(x)
            second: Tensor = self.activation(first)
            return second

    part = ManifoldMixup(inputs=False)
    model = part.network(Twice())
    mixed, _ = part.batch(Batch(rows(), rows()), {}, Context(0, Rng(key(0))).within(part.name))
    for _ in range(2):  # and again in the next pass
        torch.testing.assert_close(model(rows()), mixed.targets)


def test_evaluation_neutral_dials_and_removal_leave_the_network_as_it_is() -> None:
    plain = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.rand(ROWS, 2)
    model = ManifoldMixup().network(copy.deepcopy(plain))
    assert torch.equal(model.eval()(x), plain(x))
    assert not torch.equal(torch.cat([model.train()(x)]), plain(x))
    for part in (ManifoldMixup(share=0.0), ManifoldMixup(alpha=0.0)):
        assert torch.equal(part.network(copy.deepcopy(plain))(x), plain(x))
    removed = remove(model)
    assert torch.equal(removed(x), plain(x))
    assert not removed._forward_pre_hooks


def test_a_checkpoint_repeats_the_mixing() -> None:
    class Saving(nn.Module):
        def __init__(self, saves: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.block, self.last, self.saves = nn.Sequential(nn.Linear(2, 4), nn.Tanh()), nn.Linear(4, 1), saves

        def forward(self, x: Tensor) -> Tensor:
            hidden = checkpoint(self.block, x, use_reentrant=False) if self.saves else self.block(x)
            answer: Tensor = self.last(hidden)
            return answer

    x, found = torch.rand(ROWS, 2), []
    for saves in (False, True):
        model = ManifoldMixup(inputs=False).network(Saving(saves))
        model(x).square().sum().backward()
        found.append(model.block[0].weight.grad)
    plain = Saving(False)
    plain(x).square().sum().backward()
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], plain.block[0].weight.grad)


def test_sites_with_other_rows_than_the_batch_are_refused() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.activation(x.reshape(-1, 2)).reshape(x.shape)
            return found

    model = ManifoldMixup(inputs=False).network(Flat())
    with pytest.raises(
        ArgumentError, match=r"`ManifoldMixup.where` must name sites with the batch's rows first; got 8"
    ):
        model(torch.rand(4, 4))


def test_a_loop_that_does_not_pass_its_rows_is_told() -> None:
    run = Recipe(ManifoldMixup()).start(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), seed=0)
    out = run.model(torch.rand(ROWS, 2))
    with pytest.raises(ArgumentError, match=r"`ManifoldMixup` must mix the targets too.*run.batch"):
        run.objective(out.sum(), outputs=out)


def test_a_rule_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`ManifoldMixup.where` must be one of activations, .*; got 'outputs'"):
        ManifoldMixup(where="outputs")


def test_the_receipt_names_the_input() -> None:
    assert ManifoldMixup().touches() == "the model's input, and after every activation"
    assert ManifoldMixup(inputs=False).touches() == "after every activation"


def test_token_ids_are_refused_and_the_way_out_is_told() -> None:
    run = Recipe(ManifoldMixup(where="embeddings")).start(nn.Sequential(nn.Embedding(5, 3), nn.ReLU()), classes=3)
    tokens, _ = run.batch(torch.arange(4), torch.arange(4) % 3)
    with pytest.raises(ArgumentError, match=r"got torch\.int64\. .* write ManifoldMixup\(inputs=False\)"):
        run.model(tokens)
