"""Locked dropout: one mask for all time steps, around torch's own recurrent layers."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from poise.core.errors import PoiseWarning
from poise.core.recipe import Recipe
from poise.core.rng import key
from poise.network import Dropout, LockedDropout
from poise.network.locked_dropout import LockedDropoutLayer
from poise.testing import check_regularizer
from poise.testing.oracles import mean_p_value, rate_p_value
from poise.testing.sequence_networks import PlainRnn, SequenceNetwork
from poise.train.losses import CrossEntropy
from poise.train.population import Population
from poise.train.rows import Rows

P = 0.2
KINDS = [nn.RNN, nn.LSTM, nn.GRU]
pytestmark = pytest.mark.usefixtures("seeded")


def layer(p: float, batch_first: bool = True) -> LockedDropoutLayer:
    made = LockedDropout(p).layer(nn.RNN(1, 1, batch_first=batch_first))
    assert isinstance(made, LockedDropoutLayer)
    return made


def sequences(one: LockedDropoutLayer) -> Tensor:
    """A million features of two time steps, all 1, through the layer."""
    one.begin()
    seen: Tensor = one(torch.ones(1000, 2, 1000), one.p, "outputs")
    return seen


def whole(y: Tensor) -> Tensor:
    return (y == 0).all(1)


def test_battery() -> None:
    check_regularizer(LockedDropout(0.3, 0.2))


def test_rate_mean_and_variance_are_those_of_the_law() -> None:
    y = sequences(layer(P))
    assert rate_p_value(whole(y), P) > 1e-6
    assert torch.equal(y[:, 0], y[:, 1])
    assert mean_p_value(y[:, 0], 1.0, math.sqrt(P / (1 - P))) > 1e-6
    assert abs(float(y[:, 0].var()) - P / (1 - P)) < 0.003


def test_wrong_samplers_are_caught() -> None:
    anew_at_every_step = Dropout(P).layer(nn.ReLU())(torch.ones(1000, 2, 1000))
    assert rate_p_value(whole(anew_at_every_step), P) < 1e-6
    time_taken_for_the_batch = whole(sequences(layer(P, batch_first=False)))
    assert rate_p_value(time_taken_for_the_batch, P) < 1e-6
    without_the_scale = (sequences(layer(P)) != 0).float()
    assert mean_p_value(without_the_scale[:, 0], 1.0, math.sqrt(P / (1 - P))) < 1e-6


def test_sequences_features_and_calls_are_independent() -> None:
    one = layer(P)
    first, second = whole(sequences(one)), whole(sequences(one))
    for both in (first & second, first[1:] & first[:-1], first[:, 1:] & first[:, :-1]):
        assert rate_p_value(both, P * P) > 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_outputs_are_torchs_under_one_mask_and_the_state_is_torchs(kind: type[nn.RNNBase], batch_first: bool) -> None:
    plain = kind(3, 4, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = torch.randn(5, 6, 3)
    expected, state = plain(x)
    got, own_state = LockedDropout(0.5).network(plain)(x)
    mask = got / expected
    time = 1 if batch_first else 0
    assert sorted({round(value, 4) for value in mask.flatten().tolist()}) == [0.0, 2.0]
    torch.testing.assert_close(mask, mask.narrow(time, 0, 1).expand_as(mask))
    assert not torch.equal(mask.select(time, 0)[0] == 0, mask.select(time, 0)[1] == 0)  # sequences differ
    for one, other in zip(_tensors(state), _tensors(own_state), strict=True):
        assert torch.equal(one, other)


def _tensors(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def test_inputs_are_dropped_by_their_own_rate_also_by_keyword_and_with_a_state() -> None:
    plain = nn.GRU(3, 4, batch_first=True)
    x, state = torch.randn(2, 6, 3), torch.randn(1, 2, 4)
    expected, last = plain(torch.zeros_like(x), state)
    model = LockedDropout(0.0, 1.0).network(plain)
    for output, own_last in (model(x, state), model(x, hx=state), model(input=x, hx=state)):
        assert torch.equal(output, expected)
        assert torch.equal(own_last, last)


def test_an_unbatched_sequence_has_its_time_first() -> None:
    output, _ = LockedDropout(0.5).network(nn.RNN(3, 40, batch_first=True))(torch.randn(6, 3))
    assert torch.equal(output == 0, (output[:1] == 0).expand(6, 40))
    assert (output == 0).any()


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_get_the_masks_of_padded_ones(kind: type[nn.RNNBase], enforce_sorted: bool) -> None:
    model = LockedDropout(0.5, 0.5).network(kind(3, 8, batch_first=True))
    lengths = [5, 3, 1] if enforce_sorted else [3, 5, 1]
    x = torch.randn(3, 5, 3)
    padded, _ = model(x)
    output, _ = model(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=enforce_sorted))
    assert isinstance(output, PackedSequence)
    unpacked, _ = pad_packed_sequence(output, batch_first=True)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(unpacked[row, :length], padded[row, :length])
    assert (padded == 0).any()


def test_p_one_is_exact_zero_also_for_infinities_and_p_zero_and_evaluation_are_the_identity() -> None:
    x = torch.tensor([[[1.5, math.inf], [-math.inf, math.nan]]])
    assert torch.equal(layer(1.0)(x, torch.tensor(1.0), "outputs"), torch.zeros_like(x))
    assert torch.equal(layer(0.0)(x[..., :1], torch.tensor(0.0), "outputs"), x[..., :1])
    assert layer(0.5).eval()(x, torch.tensor(0.5), "outputs") is x


@pytest.mark.parametrize("kind", KINDS)
def test_neutral_and_evaluation_are_torchs_layer_to_the_bit(kind: type[nn.RNNBase]) -> None:
    plain, x = kind(3, 4), torch.randn(5, 2, 3)
    expected, _ = plain(x)
    assert torch.equal(LockedDropout(0.0, 0.0, name="neutral").network(plain)(x)[0], expected)
    assert torch.equal(LockedDropout(0.5, 0.5).network(plain).eval()(x)[0], expected)


def test_members_are_dropped_as_they_would_be_alone(population) -> None:  # type: ignore[no-untyped-def]
    class Outputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = PlainRnn(3, 8, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.recurrent(x)[0]
            return output

    model = LockedDropout(0.5, 0.5).network(Outputs()).double()
    x, p = torch.randn(3, 4, 5, 3, dtype=torch.float64), torch.tensor([0.0, 0.5, 1.0])
    out, _, _ = population(model, x, p=p, input_p=p)
    for member in range(3):
        model.recurrent.poise_locked_dropout.key.copy_(key(0, member))
        model.recurrent.poise_locked_dropout.p.copy_(p[member])
        model.recurrent.poise_locked_dropout.input_p.copy_(p[member])
        torch.testing.assert_close(out[member], model(x[member]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [*KINDS, nn.LSTMCell])
def test_torch_cannot_map_recurrent_layers_and_a_population_loops_over_them(kind: type[nn.Module]) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = kind(2, 4)  # type: ignore[call-arg]  # they all take two sizes
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.recurrent(x)
            return self.head(found[0] if isinstance(found, tuple) else found)

    with pytest.raises(RuntimeError, match="Batching rule not implemented for aten::"):  # torch's own words
        torch.vmap(Network(), randomness="different")(torch.randn(2, 5, 2))
    data = Rows(torch.randn(6, 2), torch.eye(3)[torch.arange(6) % 3])
    population = Population(Network, Recipe(LockedDropout(0.5)), CrossEntropy(), lr=[0.1, 0.1])
    with pytest.warns(PoiseWarning, match=rf"torch\.vmap cannot map 'recurrent' \({kind.__name__}\)"):
        population.train(data, 1, 6)


def test_a_population_trains_a_recurrence_in_plain_operations() -> None:
    data = Rows(torch.randn(20, 5), torch.eye(3)[torch.arange(20) % 3])
    population = Population(
        lambda: SequenceNetwork(5, 3), Recipe(LockedDropout(0.3, 0.1)), CrossEntropy(), lr=[0.01] * 2
    )
    first = population.train(data, 1, 20)["data"]
    last = population.train(data, 40, 20)["data"]
    assert bool((last < first).all())
