"""The benchmarks of images: a smoke run on scikit-learn's digits, and that runs go on where they ended."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from poise.core.context import Context

ROOT = Path(__file__).resolve().parents[2]
HELD = 597  # test images of scikit-learn's digits


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def shell(*arguments: str) -> str:
    found = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.jsonl"
    shell("benchmarks.images", "run", "--settings", "digits_20", "--seeds", "2", "--results", str(path))
    return path


def test_a_run_scores_every_arm_with_every_seed(results: Path) -> None:
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["seed"] for line in lines] == ["recipe", 0, 1]
    for line in lines[1:]:
        assert line["test_images"] == HELD
        assert set(line["scores"]) == {"none", "augmentation", "found"}
        for scores in line["scores"].values():
            right = scores["test_accuracy"] * HELD
            assert abs(right - round(right)) < 1e-3
            assert scores["train_cross_entropy"] > 0


def test_a_run_goes_on_where_it_ended_and_repeats_nothing(results: Path, tmp_path: Path) -> None:
    whole = results.read_text().splitlines()
    path = tmp_path / "images.jsonl"
    path.write_text("\n".join(whole[:2]) + "\n" + whole[2][:40])  # the last line was cut off
    shell("benchmarks.images", "run", "--settings", "digits_20", "--seeds", "2", "--results", str(path))
    found = path.read_text().splitlines()
    assert found[:2] == whole[:2]
    assert len(found) == 4
    assert json.loads(found[3])["scores"] == json.loads(whole[2])["scores"]  # the same seed, the same result


def test_the_report_gives_the_means_and_the_paired_differences(results: Path) -> None:
    images, report = module("images"), module("images_report")
    records = images.read_results(results)
    text = report.write_page(records, None)
    none, found = ([records["digits_20", seed]["scores"][arm]["test_accuracy"] for seed in (0, 1)]
                   for arm in ("none", "found"))  # fmt: skip
    assert (
        f"| none | {50 * sum(records['digits_20', s]['scores']['none']['train_accuracy'] for s in (0, 1)):.2f}" in text
    )
    apart = 50 * (sum(found) - sum(none))
    assert f"| the found recipe − none | {apart:+.2f} [".replace("-", "−") in text
    drawing = report.figure(records)
    assert drawing.count('class="band"') == 3
    assert drawing.startswith('<svg xmlns="http://www.w3.org/2000/svg"')


def test_a_subset_has_so_many_of_each_class_and_all_test_images() -> None:
    data = module("images_data")
    whole = data.load("digits")
    images = data.subset(whole, 20, seed=3)
    labels = images.labels[~images.test].astype(int)
    assert np.bincount(labels).tolist() == [20] * 10
    assert np.array_equal(images.pixels[images.test], whole.test_pixels)
    other = data.subset(whole, 20, seed=4)
    assert not np.array_equal(images.pixels[~images.test], other.pixels[~other.test])


def test_the_dropout_papers_arms_learn_as_one_population() -> None:
    rows = [line for line in shell("benchmarks.dropout_paper", "--smoke").splitlines() if line.startswith("arm ")]
    errors = {name: float(error) for name, error in (line.removeprefix("arm ").split(": ") for line in rows)}
    assert len(errors) == 7
    assert max(errors.values()) < 40  # of guesses 90 % are wrong


def test_kl_sparsity_is_the_divergence_of_poisson_rates() -> None:
    part = module("dropout_paper").KlSparsity(weight=2.0, target=0.5)
    hidden = torch.tensor([[1.0, 0.0], [3.0, 1.0]])  # means 2 and 0.5: the second is where it should be
    ctx = Context(0, rng=None, activations={"1": (hidden,)})
    value = part.objective({}, {}, ctx)[0]["kl_sparsity"]
    rate = torch.distributions.Poisson
    expected = torch.distributions.kl_divergence(rate(torch.tensor(0.5)), rate(torch.tensor(2.0)))
    torch.testing.assert_close(value, 2.0 * expected / 2)


def test_l1_of_the_paper_begins_late_and_leaves_zeros() -> None:
    paper = module("dropout_paper")
    whole, size = module("images_data").load("digits"), paper.SMOKE
    members = [({}, 0.2, 0), ({"l1.weight": 1e-2}, 0.2, 0)]
    population = paper.trained(whole, size, members)
    weights = population.weights()["0.weight"]
    assert int((weights[0] == 0).sum()) == 0
    assert int((weights[1] == 0).sum()) > 0
