"""A study on another device: the same numbers as on the CPU, where it does the same operations; see poise.testing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from poise import ArgumentError, Classifier
from poise.cli import main
from poise.data.images import Images
from poise.kernels.library import native
from poise.study import Study
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Cohort, Plan, measured_rate
from poise.study.device import device_of
from poise.study.fit import ON_A_GPU, Fitted, Settings, fit
from poise.study.folds import Folds
from poise.study.image_network import ImageDesign
from poise.study.prepare import Prepared
from poise.study.search import METHODS
from poise.study.space import Config, Space
from poise.testing.operations import Operations
from poise.testing.pretended import PRETENDED, pretended
from poise.train import recorded

SPACE = Space(["batch_norm", "dropout", "mixup", "ema", "patience"])

pytestmark = pytest.mark.usefixtures("short", "eager")


@pytest.fixture(scope="module")
def eager() -> Iterator[None]:
    """The CPU does what another device does: kernels would round otherwise."""
    with native(False):
        yield


@pytest.fixture
def on_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`device="cuda"` means the pretended device."""
    for module in ("study", "estimators", "estimator_arguments"):
        name = f"poise.study.{module}.device_of"
        monkeypatch.setattr(name, lambda _, device: PRETENDED if device == "cuda" else "cpu")
    with pretended():
        yield


def found(ready: Prepared, device: str, search: str = "halving") -> Fitted:
    settings = Settings(search=search, device=device)
    return fit(ready.problem, ready.strata, SPACE, Clock(parse_budget("6trials")), settings)


@pytest.mark.parametrize("search", ["halving", "pbt"])
@pytest.mark.parametrize("name", ["ready", "both"])
def test_a_fit_gives_what_it_gives_on_the_cpu(name: str, search: str, request: pytest.FixtureRequest) -> None:
    ready = request.getfixturevalue(name)
    here = found(ready, "cpu", search)
    with pretended() as device:
        there = found(ready, device, search)
    assert there.plan == replace(here.plan, device=PRETENDED)
    assert there.trials == here.trials
    assert torch.equal(there.shares, here.shares)
    assert there.temperatures == here.temperatures
    inputs = ready.problem.rows.inputs
    assert torch.equal(there.stack.outputs(inputs), here.stack.outputs(inputs))
    assert {p.device.type for p in there.stack.network(0).parameters()} == {"cpu"}


@pytest.mark.parametrize("search", ["halving", "pbt"])
def test_recorded_steps_give_it_too(search: str, ready: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    here, replays = found(ready, "cpu", search), []

    class Counted(Operations):
        def replay(self) -> None:
            replays.append(self)
            super().replay()

    monkeypatch.setattr(recorded, "switched_on", lambda: True)
    monkeypatch.setitem(recorded._GRAPHS, "lazy", Counted)
    with pretended() as device:
        there = found(ready, device, search)
    assert len(replays) > 2 * len(set(replays)) > 0  # beyond those of their checks
    assert there.trials == here.trials
    assert there.temperatures == here.temperatures
    inputs = ready.problem.rows.inputs
    torch.testing.assert_close(there.stack.outputs(inputs), here.stack.outputs(inputs))


@pytest.mark.usefixtures("on_it")
def test_a_whole_study_gives_what_it_gives_on_the_cpu(frame: pd.DataFrame, tmp_path: Path) -> None:
    results = []
    for device in ("cpu", "cuda"):
        study = Study(frame.drop(columns="amount"), target="label", budget="4trials", device=device,
                      parts=["dropout", "patience"], width=8, depth=1, out=tmp_path / device, jobs=1)  # fmt: skip
        results.append(study.run())
    here, there = results
    assert there.contributions == here.contributions
    assert [arm.scores for arm in there.arms] == [arm.scores for arm in here.arms]
    assert (there.before, there.after) == (here.before, here.after)
    tables = [(tmp_path / device / "predictions.csv").read_text() for device in ("cpu", "cuda")]
    assert tables[0] == tables[1]


@pytest.mark.usefixtures("on_it")
def test_images_are_learned_there_and_an_estimator_too(frame: pd.DataFrame) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    images = Images("pictures", pixels, np.array(["a", "b"] * 20), tuple(map(str, range(40))))
    options = {"budget": "2trials", "parts": ["crop", "mixup"], "ablation": False, "jobs": 1}
    scores = []
    for device in ("cpu", "cuda"):
        result = Study(images, design=ImageDesign(width=2, depth=1), device=device, **options).run()
        scores.append([arm.scores for arm in result.arms])
    assert scores[0] == scores[1]

    X, y = frame[["a", "b", "kind"]], frame["label"]
    answers = [
        Classifier("2trials", parts=["dropout"], width=8, depth=1, device=device).fit(X, y).predict_proba(X)
        for device in ("cpu", "cuda")
    ]
    assert np.array_equal(*answers)


def test_what_was_cut_there_goes_on_here_and_there(ready: Prepared, folds: Folds) -> None:
    configs = SPACE.portfolio(0)[:2]
    with pretended() as device:
        plan = Plan(16, 16, 4, device=device)
        straight = Cohort(ready.problem, SPACE.recipe, configs, folds, plan, seed=0)
        straight.train(8)
        state = straight.population.state_dict()
        assert {leaf.device.type for leaf in (state["flat"], state["keys"], *state["best"]["weights"].values())} == {
            "cpu"
        }
        straight.train(16)
        taken = Cohort(ready.problem, SPACE.recipe, configs, folds, plan, seed=0)
        taken.population.load_state_dict(state)
        taken.train(16)
        wanted, got = straight.stack(), taken.stack()
    here = Cohort(ready.problem, SPACE.recipe, configs, folds, replace(plan, device="cpu"), seed=0)
    here.population.load_state_dict(state)
    here.train(16)
    for stack in (got, here.stack()):
        assert all(torch.equal(stack.weights[name], value) for name, value in wanted.weights.items())


def test_brackets_are_wider_there_where_the_budget_is_in_time(ready: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []

    def noted(problem: object, space: Space, configs: Sequence[Config], *_: object) -> None:
        widths.append(len(configs))
        raise KeyboardInterrupt

    monkeypatch.setitem(METHODS, "halving", noted)
    monkeypatch.setattr("poise.study.fit.measured_rate", lambda *_: 1e-6)
    for device in ("cpu", PRETENDED):
        with pretended(), pytest.raises(KeyboardInterrupt):
            fit(ready.problem, ready.strata, SPACE, Clock(parse_budget("0.5s")), Settings(device=device))
    assert widths == [6, 6 * ON_A_GPU]  # half of the widest, as the first are


def test_the_rate_is_measured_there(ready: Prepared, folds: Folds) -> None:
    with pretended() as device:
        plan = Plan(16, 16, 4, device=device)
        assert measured_rate(ready.problem, SPACE.recipe, SPACE.portfolio(0)[:2], folds, plan) > 0


# ---- names of devices ----


def test_a_device_is_named_as_torch_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of("x", "auto") == device_of("x", "cpu") == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [device_of("x", name) for name in ("cuda", "cuda:0", "cuda:1")] == ["cuda", "cuda:0", "cuda:1"]
    with pytest.raises(ArgumentError, match=r"`x` must be a GPU that torch sees; got 'cuda:2'.* sees 2 GPUs"):
        device_of("x", "cuda:2")


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:", "cuda:-1", "CUDA", 0, None, True])
def test_another_name_is_refused(device: object) -> None:
    with pytest.raises(ArgumentError, match=r'`Study.device` must be "auto", "cpu", "cuda" or "cuda:1"; got'):
        Study("iris", device=device)  # type: ignore[arg-type]


def test_a_gpu_that_is_not_there_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    assert main(["study", "iris", "--device", "cuda", "--quiet"]) == 2
    assert "sees 0 GPUs. Take" in capsys.readouterr().err
    assert main(["study", "iris", "--device", "tpu", "--quiet"]) == 2
    assert '"cuda" or "cuda:1"; got \'tpu\'' in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())
    with pytest.raises(ArgumentError, match=r"`Classifier.device` must be a GPU that torch sees; got 'cuda'"):
        Classifier(device="cuda").fit([[0.0], [1.0]], [0, 1])
