"""The penalty on recurrent states against the formula of Merity 2017, for every way in which sequences come."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from poise import LockedDropout, Recipe
from poise.network import TemporalPenalty
from poise.testing import check_regularizer

pytestmark = pytest.mark.usefixtures("seeded")


def reference(states: Tensor, size: float, change: float, time: int) -> Tensor:
    """The sum alpha mean h^2 + beta mean (h_{t+1} - h_t)^2."""
    h = states.movedim(time, 0)
    return size * h.pow(2).mean() + change * (h[1:] - h[:-1]).pow(2).mean()


def term(run: Any, sequences: Any) -> Tensor:
    """The term with its graph, the data's loss being 0."""
    states = run.model(sequences)[0]
    zero = 0 * (states.data if not isinstance(states, Tensor) else states).sum()
    found: Tensor = run.objective(zero)
    return found


def test_it_passes_the_battery() -> None:
    assert check_regularizer(TemporalPenalty(0.3, change=0.2)).count >= 22


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_the_papers_formula(kind: Any, batch_first: bool) -> None:
    model = kind(3, 4, num_layers=2, batch_first=batch_first).double()
    x = torch.randn(5, 6, 3, dtype=torch.float64)
    expected = reference(model(x)[0], 2.0, 0.7, time=1 if batch_first else 0)
    found = term(Recipe(TemporalPenalty(2.0, change=0.7)).start(model), x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    ours = torch.autograd.grad(found, model.weight_hh_l0, retain_graph=True)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(expected, model.weight_hh_l0)[0], rtol=1e-9, atol=1e-14)


def test_one_sequence_without_a_batch_has_its_time_first() -> None:
    model, x = nn.GRU(3, 4, batch_first=True).double(), torch.randn(6, 3, dtype=torch.float64)
    expected = reference(model(x)[0], 2.0, 0.7, time=0)
    torch.testing.assert_close(term(Recipe(TemporalPenalty(2.0, change=0.7)).start(model), x), expected)


def test_of_packed_sequences_only_the_steps_that_exist_count() -> None:
    model, x, lengths = nn.GRU(3, 4).double(), torch.randn(5, 3, 3, dtype=torch.float64), [2, 5, 1]
    states = [model(x[:length, i])[0] for i, length in enumerate(lengths)]
    squares = torch.cat([h.square() for h in states]).mean()
    changes = torch.cat([h.diff(dim=0).square() for h in states]).mean()
    run = Recipe(TemporalPenalty(2.0, change=0.7)).start(model)
    found = term(run, pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False))
    torch.testing.assert_close(found, 2.0 * squares + 0.7 * changes, rtol=1e-12, atol=1e-15)


def test_a_single_step_has_no_change() -> None:
    model, x = nn.GRU(3, 4).double(), torch.randn(1, 5, 3, dtype=torch.float64)
    expected = 2.0 * model(x)[0].square().mean()
    torch.testing.assert_close(term(Recipe(TemporalPenalty(2.0, change=0.7)).start(model), x), expected)


def test_rows_count_by_their_weights_whatever_comes_first() -> None:
    model, x = nn.GRU(3, 4).double(), torch.randn(6, 2, 3, dtype=torch.float64)
    expected = reference(model(x[:, :1])[0], 2.0, 0.7, time=0)
    run = Recipe(TemporalPenalty(2.0, change=0.7)).start(model)
    run.batch(x, torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(term(run, x), expected, rtol=1e-12, atol=1e-15)


def test_it_sees_the_states_before_locked_dropout() -> None:
    model, x = nn.GRU(3, 4).double(), torch.randn(6, 2, 3, dtype=torch.float64)
    expected = reference(model(x)[0], 2.0, 0.7, time=0)
    run = Recipe(TemporalPenalty(2.0, change=0.7), LockedDropout(0.5, input_p=0.0)).start(model)
    torch.testing.assert_close(term(run, x), expected, rtol=1e-12, atol=1e-15)
