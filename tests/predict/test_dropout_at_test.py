"""Passes with dropout on, against every mask there is and against the network in training mode."""

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from poise import (
    ArgumentError,
    BatchNorm,
    Dropout,
    DropoutAtTest,
    Ensemble,
    HiddenNoise,
    PoiseWarning,
    Recipe,
    WeightNoise,
)
from poise.core.kinds import Recorder, drawing
from poise.predict.dropout_at_test import random_layers
from poise.testing import check_regularizer

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def seeded(module: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return module()


def plain(rate: float = 0.5) -> nn.Module:
    model = seeded(lambda: nn.Sequential(nn.Dropout(rate), nn.Linear(3, 2))).eval().requires_grad_(False)
    model[1].weight.mul_(5)  # far from linear
    return model


def test_it_passes_the_battery() -> None:
    assert check_regularizer(DropoutAtTest(4)).count >= 15


def every_mask(model: nn.Module, rate: float, scale: float) -> torch.Tensor:
    """The exact mean of softmax over the eight masks of three inputs."""
    total = torch.zeros(6, 2)
    for mask in itertools.product([0.0, 1.0], repeat=3):
        kept = int(sum(mask))
        chance = (1 - rate) ** kept * rate ** (3 - kept)
        total += chance * torch.softmax(model[1](X * torch.tensor(mask) * scale), 1)
    return total


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_the_mean_is_that_over_every_mask(rate: float, context: Callable) -> None:
    model = plain(rate)
    found = DropoutAtTest(4000).predict(model, context())(X).exp()
    assert float((found - every_mask(model, rate, 1 / (1 - rate))).abs().max()) < 0.025
    assert float((found - every_mask(model, rate, 1.0)).abs().max()) > 0.035  # a pass that forgets to scale is caught
    assert float((found - torch.softmax(model(X), 1)).abs().max()) > 0.035  # it is not the plain network


@pytest.mark.parametrize("part", [Dropout(0.4), HiddenNoise(0.5), WeightNoise(0.5)], ids=lambda p: p.name)
def test_inserted_layers_draw_as_in_training(part: Any, context: Callable) -> None:
    model = part.network(seeded(lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)))).eval()
    answers = DropoutAtTest(3, space="output").predict(model, context()).answers(X)
    training = copy.deepcopy(model).train()
    for number, answer in enumerate(answers, start=1):
        with drawing(training, number):
            assert torch.equal(answer, training(X))


def test_numbers_are_averaged_for_a_regression(context: Callable) -> None:
    passes = DropoutAtTest(5, space="output").predict(plain(), context())
    torch.testing.assert_close(passes(X), passes.answers(X).mean(0))


def test_the_same_rows_get_the_same_answer_and_another_seed_another(context: Callable, rng_untouched: None) -> None:
    first, again, other = (DropoutAtTest(3).predict(plain(), context(seed)) for seed in (0, 0, 1))
    assert torch.equal(first(X), again(X))
    assert torch.equal(first(X), first(X))
    assert not torch.equal(first(X), other(X))
    assert len({float(answer.sum()) for answer in first.answers(X)}) == 3


def test_norms_stay_in_evaluation_mode_and_nothing_moves(context: Callable) -> None:
    model = (
        BatchNorm()
        .network(
            seeded(
                lambda: nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
            )
        )
        .eval()
    )
    before = copy.deepcopy(model.state_dict())
    passes = DropoutAtTest(4).predict(model, context())
    whole, alone = passes.answers(X), passes.answers(X[:1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert whole.shape == (4, 6, 2)
    assert torch.isfinite(alone).all()  # a batch of one row, which batch statistics could not take
    assert not any(module.training for module in model.modules())


def recurrent() -> nn.Module:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.LSTM(3, 4, num_layers=2, dropout=0.5, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x[:, None])[0][:, 0]

    return Last()


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True)
    return nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (2, 4)), nn.TransformerEncoder(layer, 1), nn.Flatten())


@pytest.mark.parametrize(
    "module",
    [recurrent, attention, lambda: nn.Sequential(nn.AlphaDropout(0.5), nn.Linear(3, 2))],
    ids=["lstm", "attention", "alpha"],
)
def test_torchs_other_layers_that_drop_take_part(module: Callable, context: Callable, rng_untouched: None) -> None:
    passes = DropoutAtTest(4, space="output").predict(seeded(module).eval(), context())
    with torch.no_grad():  # where attention would take its fast path
        answers = passes.answers(X)
        assert len({float(answer[0, 0]) for answer in answers}) == 4
        assert torch.equal(answers, passes.answers(X))
    assert not any(child.training for child in passes.predictor.modules())


def test_recorders_and_layers_with_statistics_are_left_out() -> None:
    model = nn.Sequential(Recorder(Dropout(0.5)), nn.BatchNorm1d(3), nn.Dropout(0.0))
    assert random_layers(model) == []


def test_modes_are_put_back_when_a_pass_fails(context: Callable) -> None:
    model = Dropout(0.5).network(seeded(lambda: nn.Sequential(nn.Linear(3, 2), nn.ReLU()))).eval()
    passes = DropoutAtTest(2).predict(model, context())
    with pytest.raises(RuntimeError):
        passes(torch.zeros(6, 7))
    assert not any(module.training for module in model.modules())


def test_a_network_without_dropout_is_returned_with_a_warning(context: Callable) -> None:
    model = nn.Linear(3, 2).eval()
    with pytest.warns(PoiseWarning, match="dropout_at_test found no dropout or noise layer"):
        assert DropoutAtTest().predict(model, context()) is model


def test_members_of_an_ensemble_drop_apart(context: Callable) -> None:
    passes = DropoutAtTest(50).predict(Ensemble([plain(), plain()]).eval(), context())
    one = DropoutAtTest(50).predict(plain(), context())
    assert passes(X).shape == one(X).shape == (6, 2)
    assert float(passes.disagreement(X).mean()) < float(one.disagreement(X).mean())


def test_it_comes_out_of_a_run_and_can_be_saved() -> None:
    run = Recipe(Dropout(0.5), DropoutAtTest(3)).start(
        seeded(lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)))
    )
    predictor = run.predictor().requires_grad_(False)
    assert len({float(answer.sum()) for answer in predictor.answers(X)}) == 3
    assert torch.equal(pickle.loads(pickle.dumps(predictor))(X), predictor(X))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "`DropoutAtTest.samples` must be an int >= 1; got 0"),
        ({"samples": 2.0}, "`DropoutAtTest.samples` must be an int >= 1; got 2.0"),
        ({"space": "logit"}, '`DropoutAtTest.space` must be "probability" or "output"; got \'logit\''),
    ],
)
def test_settings_that_average_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        DropoutAtTest(**settings)
