"""Every script of examples/ runs as it stands, with warnings as errors, and prints what it claims."""

import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import repository

FOLDER = repository.ROOT / "examples"
SCRIPTS = [path for path in repository.files() if path.parent == FOLDER and path.suffix == ".py"]


def printed(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a script in this process, which has imported torch already, and return what it prints."""
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    return capsys.readouterr().out


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def test_every_script_has_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    untested = [path.name for path in SCRIPTS if f'"{path.name}"' not in source]
    assert not untested
    assert len(SCRIPTS) >= 5


def test_scripts_are_short() -> None:
    long = {path.name: n for path in SCRIPTS if (n := len(path.read_text(encoding="utf-8").splitlines())) >= 60}
    assert not long


@pytest.mark.usefixtures("seeded")
def test_loop_narrows_the_gap(capsys: pytest.CaptureFixture[str]) -> None:
    plain, regularized = printed("loop.py", capsys).splitlines()
    before, after = numbers(plain), numbers(regularized)
    assert after[1] < before[1]  # on the test rows
    assert after[2] < 0.8 * before[2]  # the gap


@pytest.mark.usefixtures("seeded")
def test_classifier_classifies(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("classifier.py", capsys)
    accuracy, cross_validated = numbers(text)
    assert accuracy > 0.9
    assert cross_validated > 0.85
    assert text.endswith("equal: True\n")


@pytest.mark.usefixtures("seeded")
def test_schedules_move_their_dials(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [numbers(line) for line in printed("schedules.py", capsys).splitlines()[1:6]]
    dropout, noise, weight, term = zip(*rows, strict=True)
    assert list(dropout) == sorted(dropout, reverse=True)
    assert noise == (0.2, 0.2, 0.2, 0.0, 0.0)
    assert weight[:3] == (0.0, 0.005, 0.01)
    assert term[0] == 0.0 < term[1]


@pytest.mark.usefixtures("seeded")
def test_multitask_borrows_from_related_tasks_only(capsys: pytest.CaptureFixture[str]) -> None:
    alone, related, *_, coin = (numbers(line)[0] for line in printed("multitask.py", capsys).splitlines())
    assert related > alone + 0.05
    assert coin < alone + 0.02


@pytest.mark.usefixtures("seeded")
def test_ensembles_are_better_calibrated_than_the_single_network(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("ensembles.py", capsys).splitlines()
    accuracy, loss, error = zip(*(numbers(line[28:])[:3] for line in text[1:8]), strict=True)
    single, tempered, snapshots, swag, dropout, passes, bag = loss
    assert min(accuracy) > 0.9
    assert max(tempered, snapshots, swag, bag) < single
    assert passes < 0.9 * dropout
    assert error[1] < error[0]
    assert numbers(text[-1])[0] == pytest.approx(bag, rel=0.6)  # out of bag, from training rows alone


@pytest.mark.usefixtures("seeded")
def test_augmentation_narrows_the_gap(capsys: pytest.CaptureFixture[str]) -> None:
    none, moved, cut = (numbers(line) for line in printed("augment.py", capsys).splitlines()[1:])
    assert cut[1] > none[1] + 0.02  # on the test rows
    assert max(moved[2], 1.2 * cut[2]) < none[2]  # the gap


@pytest.mark.usefixtures("seeded")
def test_early_stopping_shows_the_turn(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("early_stopping.py", capsys)
    curve = [numbers(line) for line in text.splitlines() if re.match(r" *\d+ ", line)]
    train, valid = zip(*curve, strict=True)
    assert list(train) == sorted(train, reverse=True)
    assert min(valid) < valid[0]
    assert min(valid) < valid[-1]
    kept, last = numbers(text.splitlines()[-1])
    assert kept < last


@pytest.mark.usefixtures("seeded")
def test_feature_selection_chooses_a_few(capsys: pytest.CaptureFixture[str]) -> None:
    *_, chosen, losses = printed("feature_selection.py", capsys).splitlines()
    few, everything = (int(number) for number in re.findall(r"\d+", chosen))
    assert 2 <= few <= 15 < everything
    full, reduced = numbers(losses)
    assert reduced < 3 * full
    assert reduced < 0.25  # 0.65 without any feature


# Fewer steps than the script's own 500: enough for the plain network to overfit.
@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(("name", "steps"), [("mlp", 200), ("cnn", 300), ("rnn", 250), ("transformer", 200)])
def test_each_architectures_recipe_is_better_on_unseen_rows(
    name: str, steps: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["architectures.py", name, str(steps)])
    rows = [numbers(line) for line in printed("architectures.py", capsys).splitlines()]
    (train, _, test, gap), _, (_, _, with_recipe, narrower) = rows
    assert gap == pytest.approx(test - train, abs=2e-3)
    assert with_recipe < test
    assert narrower < gap


@pytest.mark.usefixtures("seeded")
def test_sharing_is_worth_what_its_symmetry_is(capsys: pytest.CaptureFixture[str]) -> None:
    centred, moved = printed("sharing.py", capsys).strip().split("\n\n")
    (value, low, high), (more, least, most) = (
        [float(number) for number in re.findall(r"(\S+) \((\S+) to (\S+)\), 3 seeds$", part)[0]]
        for part in (centred, moved)
    )
    assert low < value < high < 0  # where places matter unshared weights are better
    assert 0 < least < more < most
    shared, unshared = (float(line.split()[-1]) for line in moved.splitlines()[2:4])
    assert shared < 1e-5
    assert unshared > 0.1


@pytest.mark.usefixtures("seeded")
def test_text_is_learned_read_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("text.py", capsys)
    assert "bits/char" in text
    windows = [line.split() for line in text.split("bits per character of another text:\n")[1].splitlines()[1:-1]]
    assert sum(int(characters) for characters, *_ in windows) == 100
    for _, nats, bits, _ in windows:
        assert float(bits) == pytest.approx(float(nats) / math.log(2), abs=0.0125)  # both are printed rounded
    assert re.search(r"what it writes: .{60,}\n$", text)


def test_own_regularizer_passes_the_battery() -> None:
    """In a process of its own: declaring a regularizer outlives the script in the registry."""
    environment = os.environ | {"PYTHONPATH": str(repository.ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(FOLDER / "own_regularizer.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d\d checks ran\n", done.stdout)
    assert numbers(done.stdout) == [0.0]
