"""Networks that torch.vmap cannot map train in a population all the same: as plain loops, with one warning."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import (
    L2,
    BatchNorm,
    Decay,
    Dropout,
    Ema,
    Mixup,
    Patience,
    Recipe,
    RecurrentDropConnect,
    Sam,
)  # fmt: skip
from poise.core.context import Batch
from poise.core.errors import PoiseWarning
from poise.core.mapped import map_members
from poise.train.looped import loop_members
from poise.train.losses import CrossEntropy
from poise.train.members import member_seed
from poise.train.population import Population, Rows
from poise.train.rows import epoch_order

STEPS, SIZE, RATES = 30, 20, (1e-2, 2e-2, 3e-2)


class Recurrent(nn.Module):
    """A recurrent layer over 4 columns read as 4 steps, a norm and a head."""

    def __init__(self, kind: Callable[..., nn.Module] = nn.LSTM, **rest: Any) -> None:
        super().__init__()
        self.cell, self.norm, self.head = kind(1, 8, batch_first=True, **rest), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.cell(x.unsqueeze(-1))[0][:, -1]))


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x, self.cell(x))[0])


class Branch(nn.Module):
    """Another way for batches whose mean is positive, and a buffer that counts them in training."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)
        self.register_buffer("positive", torch.zeros(()))
        self.positive: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.first(x).mean() > 0:
            self.positive.add_(float(self.training))
            return self.first(x)
        return self.second(x)


class Item(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x / max(1.0, x.abs().max().item()))


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 4, sparse=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table((x[:, 0].abs() * 2).long().clamp(max=4)).tanh())


def spectral() -> nn.Module:
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8))
    return nn.Sequential(normed, nn.Tanh(), nn.Linear(8, 3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "lstm": (Recurrent, r"'cell' \(LSTM\)"),
    "two layers": (lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=False, proj_size=0), r"'cell' \(LSTM\)"),
    "gru": (lambda: Recurrent(nn.GRU), r"'cell' \(GRU\)"),
    "rnn": (lambda: Recurrent(nn.RNN), r"'cell' \(RNN\)"),
    "cell": (Cell, r"'cell' \(LSTMCell\)"),
    "branch": (Branch, r"the network \(Branch\)"),
    "item": (Item, r"the network \(Item\)"),
    "spectral": (spectral, r"\(_SpectralNorm\)"),
}


@pytest.fixture(scope="module")
def data() -> Rows:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 4, generator=generator)
    return Rows(inputs, F.one_hot(torch.randint(0, 3, (60,), generator=generator), 3).float())


def double(data: Rows) -> Rows:
    return Rows(data.inputs.double(), data.targets.double())


def mean_loss(outputs: Tensor, batch: Batch) -> Tensor:
    return -(batch.targets * outputs.log_softmax(-1)).sum(-1).mean(-1)


def population(build: Callable[[], nn.Module], recipe: Recipe | None = None, **rest: Any) -> Population:
    rest = {"lr": list(RATES)} | rest
    return Population(build, recipe or Recipe(), CrossEntropy(), classes=3, **rest)


def quietly(function: Callable[[], Any]) -> Any:
    """Call with the loop's warning switched off: what it says is tested by itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.vmap cannot map", PoiseWarning)
        return function()


def plain_loop(build: Callable[[], nn.Module], member: int, data: Rows, seed: int = 0) -> nn.Module:
    """The same training as anyone would write it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(member_seed(seed, member))
        network = build()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATES[member])
    keys = torch.tensor([[seed, member, 0]])
    for step in range(STEPS):
        epoch, place = divmod(step, len(data) // SIZE)
        rows = epoch_order(keys, epoch, len(data))[0, place * SIZE : (place + 1) * SIZE]
        optimizer.zero_grad()
        F.cross_entropy(network(data.inputs[rows]), data.targets[rows]).backward()
        for parameter in network.parameters():
            # A population's optimizer is given a dense gradient of every weight, zeros for one that was not used.
            none = parameter.grad is None
            parameter.grad = torch.zeros_like(parameter) if none else parameter.grad.to_dense()
        optimizer.step()
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_vmap_cannot_map_equals_the_plain_loop_and_is_named_once(name: str, data: Rows) -> None:
    network, place = NETWORKS[name]

    def build() -> nn.Module:
        return network().double()

    rows = double(data)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = population(build)
        found.train(rows, STEPS, SIZE)
        found.evaluate(rows, mean_loss)
        outputs = found.stack().outputs(rows.inputs)
    assert [warning.category for warning in told] == [PoiseWarning]
    with pytest.warns(PoiseWarning, match=f"torch.vmap cannot map .*{place} over the members"):
        warnings.warn_explicit(told[0].message, PoiseWarning, "", 0)
    for member in range(len(RATES)):
        alone = plain_loop(build, member, rows)
        for key, tensor in [*alone.named_parameters(), *alone.named_buffers()]:
            ours = (found.state.flat.views() | found.state.buffers)[key][member]
            torch.testing.assert_close(ours, tensor, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(outputs[member], alone(rows.inputs), rtol=1e-12, atol=1e-12)


def test_a_sparse_embedding_trains_with_dense_gradients_and_needs_no_loop(data: Rows) -> None:
    rows = double(data)
    found = population(lambda: Sparse().double())
    found.train(rows, STEPS, SIZE)
    alone = plain_loop(lambda: Sparse().double(), 1, rows)
    for key, tensor in alone.named_parameters():
        torch.testing.assert_close(found.state.flat.views()[key][1], tensor, rtol=1e-12, atol=1e-12)


# --- member equals alone -------------------------------------------------------------------------------------------


def noisy() -> nn.Module:
    """A recurrent network with torch's own dropout within and behind the cell: its masks are torch's generator's."""
    network = Recurrent(nn.LSTM, num_layers=2, dropout=0.3)
    network.head = nn.Sequential(nn.Dropout(0.2), network.head)
    return network


def parts() -> Recipe:
    return Recipe(
        BatchNorm(), RecurrentDropConnect(0.3), Mixup(0.4), L2(1e-3), Decay(0.05), Sam(0.05), Ema(0.9), Patience(2)
    )


def settings(members: list[int]) -> dict[str, Any]:
    return {
        "members": members,
        "lr": [1e-2 * (1 + member % 3) for member in members],
        "dials": {
            "mixup.share": torch.tensor([(member % 4) / 4 for member in members]),
            "l2.weight": torch.tensor([1e-3 * (1 + member % 2) for member in members]),
            "ema.decay": torch.tensor([0.5 + 0.1 * (member % 5) for member in members]),
        },
    }


def trained(members: list[int], data: Rows, rounds: int = 3, wild: int | None = None) -> Population:
    found = population(noisy, parts(), **settings(members))
    if wild is not None:
        found.state.flat.data[members.index(wild)] = torch.nan
    return again(found, data, rounds)


def again(found: Population, data: Rows, rounds: int) -> Population:
    def train() -> Population:
        for _ in range(rounds):
            found.train(data, 4, SIZE)
            found.evaluate(data, mean_loss)
        return found

    result: Population = quietly(train)
    return result


def owned(found: Population, member: int) -> dict[str, Tensor]:
    """All that belongs to one member, by name."""
    place = found.members.index(member)
    state = {name: value for name, value in found.state_dict().items() if name not in ("epoch_order", "members")}
    one = {name: weight[place] for name, weight in found.state.flat.named(state.pop("flat")).items()}
    leaves = torch.utils._pytree.tree_flatten_with_path(state)[0]
    rest = {torch.utils._pytree.keystr(path): leaf[place] for path, leaf in leaves if isinstance(leaf, Tensor)}
    return one | rest


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [n for n in first if not torch.equal(first[n].nan_to_num(7.0), second[n].nan_to_num(7.0))] == []


@pytest.fixture(scope="module")
def five(data: Rows) -> Population:
    return trained([0, 1, 2, 3, 4], data)


@pytest.mark.parametrize("member", [0, 3, 4])
def test_a_looped_member_equals_itself_alone_bit_for_bit(member: int, five: Population, data: Rows) -> None:
    assert_same(owned(five, member), owned(trained([member], data), member))


def test_the_masks_of_torchs_generator_differ_by_member_and_step_and_leave_it_as_it_was(data: Rows) -> None:
    seen: list[Tensor] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.head = nn.Dropout(0.5), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.drop(torch.ones(64)))
            return self.head(x)

    before = torch.get_rng_state()
    found = population(Watched, lr=[1e-2, 1e-2])
    quietly(lambda: found.train(data, 2, SIZE))
    assert torch.equal(torch.get_rng_state(), before)
    masks = seen[-4:]
    assert not any(torch.equal(masks[a], masks[b]) for a in range(4) for b in range(a))


def test_looped_neighbours_in_another_order_change_nothing(five: Population, data: Rows) -> None:
    other = trained([3, 0, 4, 1, 2], data)
    for member in range(5):
        assert_same(owned(five, member), owned(other, member))


def test_looped_members_pruned_and_going_on_equal_never_pruned(five: Population, data: Rows) -> None:
    pruned = trained([0, 1, 2, 3, 4], data, rounds=1)
    pruned.keep([4, 1])
    again(pruned, data, 2)
    for member in (4, 1):
        assert_same(owned(five, member), owned(pruned, member))


def test_a_looped_neighbour_that_is_nan_is_marked_and_changes_nothing(five: Population, data: Rows) -> None:
    wild = trained([0, 1, 2, 3, 4], data, wild=2)
    assert wild.diverged.tolist() == [False, False, True, False, False]
    for member in (0, 1, 3, 4):
        assert_same(owned(five, member), owned(wild, member))


def test_a_looped_population_that_was_cut_goes_on_bit_for_bit(five: Population, data: Rows) -> None:
    first = trained([0, 1, 2, 3, 4], data, rounds=2)
    second = population(noisy, parts(), **settings([0, 1, 2, 3, 4]))
    second.load_state_dict(first.state_dict())
    again(second, data, 1)
    for member in range(5):
        assert_same(owned(five, member), owned(second, member))


def test_a_stack_of_a_looped_population_answers_as_its_networks(five: Population, data: Rows) -> None:
    stack = five.stack()
    together = stack.select(torch.tensor([3, 1])).outputs(data.inputs)
    with torch.no_grad():
        alone = [stack.network(place)(data.inputs) for place in (3, 1)]
    assert torch.equal(together, torch.stack(alone))


# --- the two ways of mapping -----------------------------------------------------------------------------------------


def test_a_loop_returns_what_vmap_returns_with_gradients_and_writes() -> None:
    def function(weight: Tensor, rest: dict[str, Any], batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        rest["count"].add_(batch.inputs.sum())
        return (weight * batch.inputs).sum(), {"rest": [batch.targets + 1], "none": None}

    found, gradients, counts = [], [], []
    for way in (map_members, loop_members):
        weight = torch.arange(6.0).reshape(3, 2).requires_grad_()
        rest = {"count": torch.zeros(3), "absent": None}
        batch = Batch(torch.ones(3, 2), torch.arange(3.0))
        loss, others = way(function, 3, weight, rest, batch)
        loss.sum().backward()
        found.append((loss.detach(), others["rest"][0], others["none"]))
        gradients.append(weight.grad)
        counts.append(rest["count"])
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][2] is found[1][2] is None
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(counts[0], counts[1])


def test_a_loop_refuses_what_is_no_tensor() -> None:
    with pytest.raises(TypeError, match="a tree over members must hold tensors; got a float"):
        loop_members(lambda x: 1.0, 2, torch.zeros(2))
    with pytest.raises(TypeError, match="a tree over members must hold tensors; got a str"):
        loop_members(lambda x: x, 2, "x")


# --- what is an error all the same -----------------------------------------------------------------------------------


def test_an_error_of_the_networks_own_is_raised_as_a_plain_network_raises_it(data: Rows) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        population(lambda: nn.Linear(5, 3)).train(data, 1, SIZE)


def test_finding_out_leaves_no_trace_in_the_members(data: Rows) -> None:
    """The first pass is tried on copies: norms count each batch once."""
    found = population(lambda: Recurrent(nn.GRU), lr=[1e-2])
    quietly(lambda: found.train(data, 1, SIZE))
    assert found.state.buffers["norm.num_batches_tracked"].tolist() == [1]


def test_a_part_of_the_users_own_is_named(data: Rows) -> None:
    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(outputs, batch.targets) * max(0.0, float(outputs.detach().mean() * 0 + 1))

    found = Population(lambda: nn.Linear(4, 3), Recipe(Dropout(0.0)), loss, lr=[1e-2, 1e-2])
    with pytest.warns(PoiseWarning, match=r"cannot map the network's loss over"):
        found.train(data, 2, SIZE)
