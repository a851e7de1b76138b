"""The networks of an image study: their usual sizes, their parts, and the recipe that a search begins with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from poise import recipes
from poise.cli import main
from poise.core.errors import ArgumentError, PoiseWarning
from poise.core.recipe import Recipe
from poise.data.images import Images
from poise.data.pixels import PixelEncoder
from poise.models import ResNet, SmallCnn, VisionTransformer, WideResNet
from poise.study import IMAGE, Study, load_model
from poise.study.baselines import plain_families
from poise.study.choices_images import BY_NETWORK, for_side
from poise.study.cohort import Plan, plan_for
from poise.study.epochs import few_epochs
from poise.study.image_network import IMAGE_NETWORKS, ImageDesign, ImageNetwork
from poise.study.source_images import ImageSource
from poise.study.space import ALWAYS, Space
from poise.study.table_network import Design

REFERENCES = {"resnet": recipes.resnet, "wrn": recipes.wide_resnet, "vit": recipes.vit}


def pictures(count: int = 40, channels: int = 1, side: int = 8) -> Images:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 120, (count, channels, side, side), dtype=np.uint8)
    pixels[::2, :, :, ::3] += 120
    labels = np.array(["standing", "none"] * (count // 2))
    return Images("pictures", pixels, labels, tuple(map(str, range(count))))


def test_a_design_says_its_usual_sizes() -> None:
    assert [(d.width, d.depth) for d in map(ImageDesign, IMAGE_NETWORKS)] == [(16, 3), (16, 3), (2, 16), (64, 4)]
    assert ImageDesign("wrn", width=4) == ImageDesign("wrn", 4, 16, "group")
    for arguments, message in (
        ({"network": "vgg"}, r"`ImageDesign.network` must be one of cnn, resnet, wrn, vit; got 'vgg'"),
        ({"network": "wrn", "depth": 12}, r"`ImageDesign.depth` must be 10, 16, 22, 28, ... for wrn; got 12"),
        ({"network": "vit", "width": 30}, r"`ImageDesign.width` must be a multiple of 4 for vit; got 30"),
        ({"norm": "layer"}, r"`ImageDesign.norm` must be one of group, batch"),
        ({"width": 0}, r"`ImageDesign.width` must be an int >= 1"),
    ):
        with pytest.raises(ArgumentError, match=message):
            ImageDesign(**arguments)  # type: ignore[arg-type]


def test_what_was_saved_before_norms_could_be_chosen_is_read() -> None:
    old = {"network": "resnet", "width": 8, "depth": 2}
    assert ImageDesign.from_facts(old, None) == ImageDesign("resnet", 8, 2, "group")


def test_each_name_builds_its_network_at_the_size_of_the_pictures() -> None:
    images = pictures(channels=3, side=9)
    encoder = PixelEncoder.fit(images.pixels)
    kinds = {"cnn": SmallCnn, "resnet": ResNet, "wrn": WideResNet, "vit": VisionTransformer}
    sizes = {"cnn": {}, "resnet": {}, "wrn": {"width": 1, "depth": 10}, "vit": {"width": 8, "depth": 1}}
    for name, kind in kinds.items():
        network = ImageNetwork(encoder, 5, ImageDesign(name, **sizes[name]))
        assert type(network.network) is kind
        assert network(torch.from_numpy(encoder.transform(images.pixels[:2]))).shape == (2, 5)
    # ResNet-18 for small images.
    big = ImageDesign("resnet", width=64, depth=4).build(encoder, 10, None)
    assert sum(parameter.numel() for parameter in big.parameters()) == 11_173_962


@pytest.mark.parametrize("name", REFERENCES)
def test_a_search_begins_with_the_recipe_of_the_network(name: str) -> None:
    choices = BY_NETWORK[name]
    space = Space(choices=choices)
    first = space.recipe_of(space.portfolio(0)[0])
    wanted = REFERENCES[name](decay=0.05)
    found = {key: value for key, value in first.dials().items() if key.split(".")[0] not in ALWAYS}
    # Every dial but the average's, which is shorter: a study trains for fewer steps than the papers.
    expected = wanted.dials() | ({"ema.decay": 0.99} if "ema.decay" in wanted.dials() else {})
    assert found == pytest.approx(expected)
    assert set(ALWAYS) <= {part.name for part in first}


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_every_dial_is_searched_or_fixed_and_no_norm_is_doubled(name: str) -> None:
    choices = BY_NETWORK[name]
    declared = set(Recipe(*choices.parts.values()).declared())
    assert declared == set(choices.ranges) | choices.fixed
    assert not set(choices.ranges) & choices.fixed
    assert ("batch_norm" in choices.parts) == (name == "cnn")
    assert not {"mixup", "cut_mix"} & set(choices.parts) or "mixup_or_cut_mix" not in choices.parts
    for config in Space(choices=choices).portfolio(0):
        for key, (low, high) in choices.ranges.items():
            neutral = config.dials[key] == Space(choices=choices).declared[key].neutral
            assert neutral or low <= config.dials[key] <= high, key


def test_crops_move_in_proportion_to_the_side_in_search_and_baseline() -> None:
    for side, start, high in ((8, 1.0, 2.0), (32, 2.0, 6.0), (64, 4.0, 12.0)):
        choices = for_side(IMAGE, side)
        assert choices.parts["crop"].dials()["pixels"] == start
        assert choices.ranges["crop.pixels"] == (1.0, high)
    assert for_side(BY_NETWORK["wrn"], 8).starts[0][1]["crop.pixels"] == 1.0
    source = ImageSource(pictures(), None, ImageDesign("wrn", width=1, depth=10))
    problem = source.prepare(0).problem
    rival = plain_families(problem, source.choices)[1]["flips and crops alone"]
    assert {config.dials["crop.pixels"] for config in rival} == {1.0}
    assert "color_jitter" not in source.choices.parts


def test_from_the_shell_a_network_is_chosen_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = pictures(40)
    for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        path = tmp_path / "pictures" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0]).save(path)
    monkeypatch.setattr("poise.study.fit.plan_for", lambda rows, **_: Plan(20, min(rows, 16), 5))
    study = ["study", "pictures", "--budget", "1trials", "--no-ablation", "--quiet", "--no-cache"]
    for name, sizes in (("wrn", ["--width", "1", "--depth", "10"]), ("vit", ["--width", "8", "--depth", "1"])):
        out = ["--parts", "crop", "--network", name, *sizes, "--out", f"out-{name}"]
        assert main([*study, *out]) == 0
        model = load_model(tmp_path / f"out-{name}")
        assert isinstance(model.design, ImageDesign)
        assert (model.design.network, model.design.width, model.design.depth) == (name, *map(int, sizes[1::2]))
        found = model.predict_frame(images.pixels)
        assert set(found["prediction"]) <= {"standing", "none"}
    assert main([*study, "--network", "vgg"]) == 2
    assert "one of cnn, resnet, wrn, vit" in capsys.readouterr().err


def test_a_size_beside_a_design_and_a_network_for_a_table_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`Study.width` must be left out where a design is given; got 8"):
        Study(pictures(), design=ImageDesign(), width=8)
    with pytest.raises(ArgumentError, match=r"`Study.network` is for images and texts; got 'wrn' with a table"):
        Study("iris", network="wrn")
    with pytest.raises(ArgumentError, match=r"`Study.design` must be an ImageDesign for images"):
        Study(pictures(), design=Design())


# ---- an honest budget ----


def test_a_budget_of_few_epochs_is_said_with_their_number_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if a step took 8 seconds; of 40 pictures a fold trains on 22, in batches of 22.
    monkeypatch.setattr("poise.study.fit.measured_rate", lambda *_: 8.0)
    monkeypatch.setattr("poise.study.search.Search.rate", lambda _: 8.0)
    real = plan_for

    def at_least_three(rows: int, **rest: Any) -> Plan:
        return dataclasses.replace(real(rows, **rest), steps=3 if rest.get("rate") else 100, every=1)

    monkeypatch.setattr("poise.study.fit.plan_for", at_least_three)
    study = Study(pictures(), budget="4s", jobs=1, parts=["crop"], ablation=False, design=ImageDesign(width=2, depth=1))
    with pytest.warns(PoiseWarning, match=r"for 3.0 epochs at most \(3 steps of 22 of 22 rows\)"):
        result = study.run()
    assert [note for note in result.warnings if "per_class" in note and "half-trained" in note]


def test_enough_epochs_and_budgets_in_trials_are_no_matter() -> None:
    assert few_epochs(Plan(steps=100, batch=20, every=5), 400, "x") == ""
    assert few_epochs(Plan(steps=99, batch=20, every=5), 400, "Do.").endswith("half-trained networks. Do.")
    # Many epochs of few rows, but no fewer steps are possible: there is not enough time for them.
    assert "It takes longer than its budget, too" in few_epochs(Plan(steps=20, batch=64, every=1), 128, "Do.")
