"""The polynomial figure against numpy, scikit-learn and the library's own ensembles and noise."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, Ridge
from torch import Tensor, nn

import poise
from poise.lab.figures.poly import COPIES, HIGHEST, MEMBERS, NEW_POINTS, Poly, fits
from poise.lab.linear import Quadratic, minimum
from poise.lab.samples import NEW, legendre, truth, wave
from poise.lab.scene import Bars, Frame, Line, Plot
from poise.train.bagging import bootstrap_rows


def frame_of(**values: object) -> Frame:
    figure = Poly()
    return figure.compute(figure.checked(values))


def plot(frame: Frame, place: int) -> Plot:
    panel = frame.panels[place]
    assert isinstance(panel, Plot)
    return panel


def curve(frame: Frame, label: str) -> Line:
    return next(mark for mark in plot(frame, 0).marks if isinstance(mark, Line) and mark.label == label)


def rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.parametrize(("degree", "seed"), [(1, 0), (4, 1), (12, 0)])
def test_errors_and_curve_are_numpys(degree: int, seed: int) -> None:
    frame = frame_of(degree=degree, seed=seed)
    x, y = (value.numpy() for value in wave(16, 0.3, seed))
    new_x, new_y = (value.numpy() for value in wave(NEW_POINTS, 0.3, seed + NEW))
    oracle = np.polynomial.Polynomial.fit(x, y, degree)
    train, new, gap, _ = (number.value for number in frame.numbers)
    assert train == pytest.approx(rms(oracle(x) - y), rel=1e-6)
    assert new == pytest.approx(rms(oracle(new_x) - new_y), rel=1e-6)
    assert gap == pytest.approx(new - train)
    line = curve(frame, "fit")
    np.testing.assert_allclose(line.y, oracle(np.array(line.x)), rtol=1e-6, atol=1e-8)


def test_weights_under_l2_are_ridge_and_under_l1_the_lasso() -> None:
    x, y = wave(16, 0.3, 0)
    features = legendre(x, 12).numpy()
    ridge = Ridge(alpha=16 * 0.01 / 2).fit(features, y)
    lasso = Lasso(alpha=0.05 / 2, tol=1e-12, max_iter=100_000).fit(features, y)
    for oracle, values in ((ridge, {"l2": 0.01}), (lasso, {"l1": 0.05})):
        frame = frame_of(degree=12, **values)
        bars = plot(frame, 2).marks[0]
        assert isinstance(bars, Bars)
        np.testing.assert_allclose(bars.value, oracle.coef_, atol=1e-6)
        assert list(bars.crossed) == (oracle.coef_ == 0).tolist()
        assert frame.numbers[3].value == (oracle.coef_ == 0).sum()


def test_the_claim_holds_at_rest_and_a_penalty_repairs_it_on_every_sample() -> None:
    for seed in range(8):
        train, new, _, _ = (number.value for number in frame_of(seed=seed).numbers)
        assert train < 0.3 < new / 2, seed
        for values in ({"l2": 0.01}, {"l1": 0.05}, {"stopping": True}, {"jitter": 0.08}):
            held_train, held_new, _, _ = (number.value for number in frame_of(seed=seed, **values).numbers)
            assert held_new < new / 2, (seed, values)
            assert held_train > train, (seed, values)


def test_a_higher_degree_never_fits_the_known_points_worse() -> None:
    found = fits(0, 30, 0.3, 0.0, 0.0, 0.0, False, False).train
    assert float((found[1:] - found[:-1]).max()) < 1e-9


def test_every_degree_of_the_sweep_is_the_fit_of_that_degree_alone() -> None:
    found = fits(3, 16, 0.3, 0.001, 0.02, 0.0, False, False).weights[:, 0]
    x, y = wave(16, 0.3, 3)
    for degree in (1, 7, HIGHEST):
        features = torch.cat([torch.ones(16, 1, dtype=torch.float64), legendre(x, degree)], 1)
        alone = minimum(Quadratic.of(features, y), 0.001, 0.02)
        assert torch.allclose(found[degree - 1, : degree + 1], alone, atol=1e-7)
        assert not found[degree - 1, degree + 1 :].any()


def layer(weights: Tensor) -> nn.Linear:
    made = nn.Linear(len(weights) - 1, 1, dtype=torch.float64)
    with torch.no_grad():
        made.bias.copy_(weights[:1])
        made.weight.copy_(weights[None, 1:])
    return made


@pytest.mark.usefixtures("seeded")
def test_bagging_is_the_librarys_ensemble_on_the_librarys_rows() -> None:
    found = fits(2, 20, 0.3, 0.001, 0.0, 0.0, False, True)
    x, y = wave(20, 0.3, 2)
    rows = bootstrap_rows(range(MEMBERS), 20, 2)
    members = []
    for own in rows:
        features = torch.cat([torch.ones(20, 1, dtype=torch.float64), legendre(x[own], 9)], 1)
        members.append(layer(minimum(Quadratic.of(features, y[own]), 0.001)))
    ensemble = poise.Ensemble(members, space="output")
    new_x, new_y = wave(NEW_POINTS, 0.3, 2 + NEW)
    with torch.no_grad():
        error = torch.square(ensemble(legendre(new_x, 9))[:, 0] - new_y).mean().sqrt()
    assert float(found.new[8]) == pytest.approx(float(error), rel=1e-6)


@pytest.mark.usefixtures("seeded")
def test_noise_in_x_is_what_a_run_of_the_library_draws() -> None:
    found = fits(5, 16, 0.3, 0.0, 0.0, 0.1, False, False).weights[5, 0, :7]
    x, y = wave(16, 0.3, 5)
    run = poise.Recipe(poise.InputNoise(0.1)).start(nn.Linear(6, 1).double(), seed=5)
    noisy, targets = run.batch(x.repeat(COPIES), y.repeat(COPIES))
    assert not torch.equal(noisy, x.repeat(COPIES))
    features = torch.cat([torch.ones(16 * COPIES, 1, dtype=torch.float64), legendre(noisy, 6)], 1)
    oracle = torch.linalg.lstsq(features, targets[:, None]).solution[:, 0]
    assert torch.allclose(found, oracle, atol=1e-7)


def test_the_points_that_stop_the_descent_are_not_those_of_the_error() -> None:
    x, y = wave(16, 0.3, 0)
    kept_x, kept_y = wave(NEW_POINTS, 0.3, 2 * NEW)
    features, kept = legendre(x, 4), legendre(kept_x, 4)
    model = nn.Linear(4, 1).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    design = torch.cat([torch.ones(16, 1, dtype=torch.float64), features], 1)
    rate = 0.1 / float(torch.linalg.eigvalsh(2 * design.T @ design / 16).max())
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    errors = []
    for step in range(1, 401):
        optimizer.zero_grad()
        torch.square(model(features)[:, 0] - y).mean().backward()
        optimizer.step()
        if step % 5 == 0:
            errors.append(float(torch.square(model(kept)[:, 0].detach() - kept_y).mean()))
            if len(errors) - 1 - int(np.argmin(errors)) >= 10:
                break
    found = fits(0, 16, 0.3, 0.0, 0.0, 0.0, True, False).steps
    assert found is not None
    assert found[3] == 5 * (int(np.argmin(errors)) + 1)


def test_the_truth_is_dashed_and_the_true_function() -> None:
    line = curve(frame_of(), "truth")
    assert line.dashed
    assert torch.allclose(torch.tensor(line.y), truth(torch.tensor(line.x)))


def test_more_weights_than_points_are_explained() -> None:
    assert "many fits are perfect" in frame_of(points=8).notice
    assert frame_of(points=8, l2=0.01).notice == ""
    assert frame_of().notice == ""


def test_an_error_beyond_the_axis_is_said() -> None:
    frame = frame_of(degree=15)
    assert frame.numbers[1].value > 20
    assert "beyond the axis" in frame.notice


def test_the_table_has_a_row_for_each_degree() -> None:
    figure = Poly()
    table = figure.table(frame_of(degree=3))
    assert [row[0] for row in table.rows] == list(range(1, HIGHEST + 1))
    assert [row[3] != "" for row in table.rows] == [True] * 3 + [False] * 12


def test_the_table_holds_the_numbers_of_the_frame() -> None:
    figure = Poly()
    frame = frame_of(degree=7)
    row = figure.table(frame).rows[6]
    assert row[1:3] == pytest.approx([frame.numbers[0].value, frame.numbers[1].value])


def test_the_table_holds_errors_beyond_the_axis_as_they_are() -> None:
    figure = Poly()
    rows = figure.table(frame_of(degree=15)).rows
    found = fits(0, 16, 0.3, 0.0, 0.0, 0.0, False, False)
    assert found.new[13] > 20
    assert found.train[14] < 0.05
    assert [row[1:3] for row in rows] == torch.stack([found.train, found.new], 1).tolist()
