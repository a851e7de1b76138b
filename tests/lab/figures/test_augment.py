"""The gallery: each tile is the library's transform of the picture, found here by its parts and not by a run."""

import base64
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from poise import Cutout, Flip, RandomErasing
from poise.batch.images import ImageTransform
from poise.core.context import Batch, Context
from poise.core.dial import dials_of
from poise.core.errors import ArgumentError, DataError
from poise.core.rng import Rng, key
from poise.lab.figures.augment import DRAWS, Augment, at_strength, augmentations
from poise.lab.picture import SCENES, SIDE, painted, read_picture
from poise.lab.scene import Images, Tile


def pixels_of(image: torch.Tensor) -> str:
    """The hash of a picture's bytes, (H, W, 3)."""
    levels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return hashlib.sha256(levels.tobytes()).hexdigest()


def hash_of(tile: Tile) -> str:
    return hashlib.sha256(base64.b64decode(tile.pixels)).hexdigest()


def by_hand(part: ImageTransform, picture: torch.Tensor, rows: int, seed: int) -> torch.Tensor:
    """The draw and the edit of a part under the key (seed, member 0, step 0)."""
    batch = Batch(picture.expand(rows, -1, -1, -1), torch.zeros(rows, 2))
    ctx = Context(0, Rng(key(seed)), classes=2).within(part.name)
    return part.apply(batch, part.draw(ctx.rng, batch, ctx), ctx).inputs


@pytest.mark.parametrize("method", sorted(augmentations()))
@pytest.mark.parametrize("seed", [0, 7])
def test_tiles_are_the_transform_at_the_seed(method: str, seed: int) -> None:
    figure = Augment()
    frame = figure.compute(figure.checked({"method": method, "seed": seed, "picture": "boat", "strength": 0.8}))
    every, twelve = (panel for panel in frame.panels if isinstance(panel, Images))
    part = at_strength(augmentations()[method], 0.8)
    expected = by_hand(part, painted("boat"), DRAWS, seed)
    assert [hash_of(tile) for tile in twelve.tiles] == [pixels_of(row) for row in expected]
    place = 1 + list(augmentations()).index(method)
    assert every.tiles[place].chosen
    assert hash_of(every.tiles[place]) == pixels_of(by_hand(part, painted("boat"), 1, seed)[0])
    assert hash_of(every.tiles[0]) == pixels_of(painted("boat"))


def test_every_augmentation_of_the_library_has_a_tile() -> None:
    frame = Augment().compute(Augment().start())
    assert isinstance(frame.panels[0], Images)
    names = {tile.caption for tile in frame.panels[0].tiles[1:]}
    assert {"flip", "crop", "random resized crop", "affine", "color jitter", "cutout", "random erasing"} <= names
    assert {"rand augment", "trivial augment", "aug mix"} <= names


@pytest.mark.parametrize("kind", augmentations().values(), ids=augmentations().keys())
def test_strength_0_is_neutral_and_1_the_end_of_the_search_range(kind: type[ImageTransform]) -> None:
    picture = painted()
    assert torch.equal(by_hand(at_strength(kind, 0.0), picture, 4, 1), picture.expand(4, -1, -1, -1))
    for field, declared in dials_of(kind).items():
        value = at_strength(kind, 1.0).dials()[field]
        if not declared.unit.startswith("objective"):
            assert value == pytest.approx(max(declared.search, key=lambda end: abs(end - declared.neutral)), rel=1e-3)


def test_probabilities_follow_the_strength_only_where_nothing_else_does() -> None:
    assert at_strength(Cutout, 0.5) == Cutout(side=0.3, share=1.0)
    assert at_strength(RandomErasing, 0.5) == RandomErasing(share=1.0, area=0.3)
    assert at_strength(Flip, 0.5) == Flip(horizontal=0.25, vertical=0.25)


def test_twelve_draws_differ_from_each_other() -> None:
    frame = Augment().compute(Augment().start())
    assert isinstance(frame.panels[1], Images)
    assert len({hash_of(tile) for tile in frame.panels[1].tiles}) == DRAWS


def test_scenes_are_unlike_and_no_flip_or_turn_leaves_one_alone() -> None:
    scenes = [painted(scene) for scene in SCENES]
    assert all(scene.shape == (3, SIDE, SIDE) and scene.min() >= 0 and scene.max() <= 1 for scene in scenes)
    for scene in scenes[:1]:
        for other in (scene.flip(-1), scene.flip(-2), scene.rot90(1, (-2, -1)), scene.mean(0, keepdim=True)):
            assert float((other - scene).abs().mean()) > 0.05
    with pytest.raises(ArgumentError, match="must be one of house, boat"):
        painted("ship")


# ---- the user's own picture ----


def written(path: Path, width: int, height: int) -> Path:
    """A picture: red left of the middle, blue right of it, and green margins beyond the middle square."""
    array = np.zeros((height, width, 3), dtype=np.uint8)
    array[:, :, 1] = 255
    margin = (width - height) // 2
    array[:, margin : width // 2] = (255, 0, 0)
    array[:, width // 2 : width - margin] = (0, 0, 255)
    Image.fromarray(array).save(path)
    return path


def test_an_own_picture_is_its_middle_square(tmp_path: Path) -> None:
    picture = read_picture(written(tmp_path / "own.png", 300, 200))
    assert picture.shape == (3, SIDE, SIDE)
    assert picture[:, 24, 4].tolist() == [1.0, 0.0, 0.0]
    assert picture[:, 24, 43].tolist() == [0.0, 0.0, 1.0]


def test_the_figure_starts_with_the_own_picture_and_its_code_reads_it(tmp_path: Path) -> None:
    path = str(written(tmp_path / "own.png", 120, 80))
    figure = Augment(path)
    state = figure.start()
    assert state["picture"] == "own"
    frame = figure.compute(state)
    assert isinstance(frame.panels[0], Images)
    assert hash_of(frame.panels[0].tiles[0]) == pixels_of(read_picture(path))
    names: dict[str, object] = {}
    exec(figure.code(state), names)
    assert torch.equal(names["picture"], read_picture(path))  # type: ignore[arg-type]


def test_what_is_no_picture_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no picture"):
        read_picture(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match="cannot be read as a picture"):
        read_picture(tmp_path / "text.png")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (6000, 5000)).save(path)
    with pytest.raises(DataError, match="6000 x 5000 pixels, more than 25,000,000"):
        read_picture(path)
