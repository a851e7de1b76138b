"""The gap of any trained network: against means by hand, normal intervals, and the calibration error of `predict`."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import ArgumentError, DataError, gap
from poise.diagnosis.advice import kind_of
from poise.diagnosis.answers import answers
from poise.diagnosis.constant import constant_loss
from poise.predict import expected_calibration_error

Data = tuple[Tensor, Tensor]


def classes(rows: int, seed: int) -> Data:
    own = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 20, generator=own)
    return x, (x[:, 0] + torch.randn(rows, generator=own) > 0).long()


def fitted(train: Data, steps: int = 300, width: int = 64) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Dropout(0.0), nn.Linear(width, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(train[0]), train[1]).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def overfitted() -> tuple[nn.Module, Data, Data]:
    train, validation = classes(60, 1), classes(400, 2)
    return fitted(train), train, validation


def test_the_measures_are_means_over_rows(overfitted: Any) -> None:
    model, train, validation = overfitted
    report = gap(model, train, validation)
    loss, error, calibration = report.measures
    model.eval()
    with torch.no_grad():
        for side, data in (("train", train), ("validation", validation)):
            outputs = model(data[0])
            assert getattr(loss, side).value == pytest.approx(float(F.cross_entropy(outputs, data[1])), rel=1e-5)
            wrong = float((outputs.argmax(1) != data[1]).float().mean())
            assert getattr(error, side).value == pytest.approx(wrong)
            expected = expected_calibration_error(outputs.softmax(1), data[1])
            assert getattr(calibration, side).value == pytest.approx(expected, rel=1e-3)
    assert loss.gap.value == pytest.approx(loss.validation.value - loss.train.value)


def test_intervals_are_the_normal_ones_for_a_mean_of_many_rows() -> None:
    own = torch.Generator().manual_seed(0)
    seen = torch.zeros(2_000, 1), torch.randn(2_000, 1, generator=own)
    unseen = torch.zeros(500, 1), 1.5 * torch.randn(500, 1, generator=own)
    one = gap(nn.Identity(), seen, unseen, resamples=2_000).measures[0]
    squares = [part[1].square().double().numpy() for part in (seen, unseen)]
    spread = np.sqrt(sum(part.var(ddof=1) / len(part) for part in squares))
    centre = squares[1].mean() - squares[0].mean()
    assert one.gap.low == pytest.approx(centre - 1.96 * spread, abs=0.3 * spread)
    assert one.gap.high == pytest.approx(centre + 1.96 * spread, abs=0.3 * spread)


def test_a_network_that_memorised_overfits_and_says_what_to_try(overfitted: Any) -> None:
    report = gap(*overfitted)
    assert report.verdict == "overfits"
    families = [one.family for one in report.advice]
    assert families[0] == "early stopping"
    assert "dropout" in families
    assert "label smoothing" in families, "its probabilities are far too sure"
    text = str(report)
    assert "60 training rows, 400 unseen, 1,474 parameters" in text
    assert "verdict: overfits" in text


def test_a_simple_network_with_many_rows_has_no_gap() -> None:
    train, validation = classes(4_000, 1), classes(400, 2)
    report = gap(fitted(train, width=2, steps=150), train, validation)
    assert report.verdict == "no gap"
    assert report.measures[0].gap.low < 0 < report.measures[0].gap.high


def test_an_untrained_network_underfits() -> None:
    report = gap(fitted(classes(50, 1), steps=0), classes(500, 1), classes(500, 2))
    assert report.verdict == "underfits"
    assert report.advice[0].family == "more capacity or steps"


def test_a_dataset_a_loader_and_tensors_give_one_answer(overfitted: Any) -> None:
    model, train, validation = overfitted
    plain = gap(model, train, validation)
    sets = [torch.utils.data.TensorDataset(*part) for part in (train, validation)]
    loaders = [torch.utils.data.DataLoader(part, batch_size=7) for part in sets]
    for given in (sets, loaders):
        found = gap(model, *given)
        for one, two in zip(plain.measures, found.measures, strict=True):
            assert one.gap.value == pytest.approx(two.gap.value, rel=1e-5)


def test_the_network_is_left_as_it_was(overfitted: Any) -> None:
    _, train, validation = overfitted
    model = nn.Sequential(nn.Linear(20, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    model[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gap(model, train, validation)
    assert [m.training for m in model] == [True, True, False, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_numbers_and_a_loss_of_ones_own() -> None:
    seen, unseen = (torch.zeros(50, 1), torch.full((50, 1), 2.0)), (torch.zeros(50, 1), torch.full((50, 1), 3.0))
    assert gap(nn.Identity(), seen, unseen).measures[0].gap.value == 5.0
    own = gap(nn.Identity(), seen, unseen, loss=lambda out, wanted: (out - wanted).abs().mean(1))
    assert own.measures[0].gap.value == 1.0


def test_soft_targets_and_sequences_of_tokens_have_their_loss() -> None:
    soft = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    logits = soft.log()
    assert answers(nn.Identity(), (logits, soft)).loss == pytest.approx(-(soft * logits).sum(1).numpy())
    tokens = torch.tensor([[0, 1], [1, 1]])
    sequences = F.one_hot(tokens, 3).float()
    expected = F.cross_entropy(sequences.flatten(0, 1), tokens.flatten(), reduction="none").reshape(2, 2).mean(1)
    assert answers(nn.Identity(), (sequences, tokens)).loss == pytest.approx(expected.numpy())


def test_a_constant_answers_loss_is_the_entropy_or_the_variance() -> None:
    assert constant_loss((torch.zeros(4, 1), torch.tensor([0, 1, 2, 2]))) == pytest.approx(1.5 * np.log(2))
    assert constant_loss((torch.zeros(2, 1), torch.tensor([1.0, 3.0]))) == 1.0


KINDS = {
    "dense": nn.Linear(2, 2),
    "convolutional": nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)),
    "recurrent": nn.LSTM(2, 2),
    "attention": nn.TransformerEncoderLayer(8, 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_network_is_read_off_its_layers(kind: str) -> None:
    assert kind_of(KINDS[kind]) == kind


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "lengths": ((torch.zeros(3, 1), torch.zeros(2)), DataError, "one target a row"),
    "no rows": ((torch.zeros(0, 1), torch.zeros(0, 1)), DataError, "1 row or more"),
    "a number": (3, DataError, "a Dataset or a DataLoader"),
    "no targets": ([torch.zeros(3)], DataError, r"each batch must be \(inputs, targets\)"),
    "infinite": ((torch.full((3, 1), torch.inf), torch.zeros(3, 1)), DataError, "not finite on 3 of 3 rows"),
    "shapes": ((torch.zeros(3, 4), torch.zeros(3, 2, dtype=torch.int64)), ArgumentError, "must be given for outputs"),
}


@pytest.mark.parametrize("case", BAD)
def test_data_of_another_form_is_refused_by_name(case: str) -> None:
    data, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        gap(nn.Identity(), data, data)


def test_a_loss_that_is_a_mean_is_refused() -> None:
    data = torch.zeros(3, 1), torch.zeros(3, 1)
    with pytest.raises(ArgumentError, match=r"one number a row, \(3,\); got shape \(\)"):
        gap(nn.Identity(), data, data, loss=F.mse_loss)


def test_too_few_resamples_are_refused() -> None:
    data = torch.zeros(3, 1), torch.zeros(3, 1)
    with pytest.raises(ArgumentError, match=r"`gap\.resamples` must be an int >= 100; got 3"):
        gap(nn.Identity(), data, data, resamples=3)


def test_the_plot_has_a_panel_a_measure(overfitted: Any) -> None:
    figure = gap(*overfitted).plot()
    assert len(figure.axes) == 3
    assert figure.axes[0].get_title().startswith("cross-entropy: gap")
