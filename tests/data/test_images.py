"""Images read from folders and .npz files: what is right comes back byte for byte, what is wrong is named."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poise.core.errors import ArgumentError, DataError, PoiseWarning
from poise.data.images import holds_images, read_images


def picture(seed: int, height: int = 12, width: int = 12, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of five PNG pictures of one size."""
    for label in ("cat", "dog"):
        for number in range(5):
            save(tmp_path / "animals" / label / f"{number}.png", picture(number + 10 * (label == "dog")))
    return tmp_path / "animals"


def test_pictures_come_back_pixel_for_pixel_in_the_order_of_their_paths(folder: Path) -> None:
    found = read_images(folder)
    assert found.pixels.shape == (10, 3, 12, 12)
    assert found.pixels.dtype == np.uint8
    assert found.labels.tolist() == ["cat"] * 5 + ["dog"] * 5
    assert found.names[6] == os.path.join("dog", "1.png")
    assert np.array_equal(found.pixels[6], picture(11).transpose(2, 0, 1))
    assert found.test is None
    assert found.skipped == ()


def test_jpeg_webp_bmp_and_gif_are_read_at_any_depth(folder: Path) -> None:
    flat = np.full((12, 12, 3), 200, np.uint8)
    for ending in ("jpg", "webp", "bmp", "gif"):
        save(folder / "cat" / "deep" / "deeper" / f"x.{ending}", flat)
    found = read_images(folder)
    assert len(found) == 14
    extra = [place for place, name in enumerate(found.names) if "deeper" in name]
    assert len(extra) == 4
    assert all(found.labels[place] == "cat" and abs(int(found.pixels[place].mean()) - 200) <= 2 for place in extra)


def test_grey_stays_grey_and_one_colour_picture_makes_all_colour(tmp_path: Path) -> None:
    for number in range(8):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", picture(number, channels=1))
    assert read_images(tmp_path).pixels.shape[1] == 1
    save(tmp_path / "a" / "colour.png", picture(9))
    found = read_images(tmp_path)
    assert found.pixels.shape[1] == 3
    assert np.array_equal(found.pixels[0, 0], found.pixels[0, 2])


def test_pictures_of_other_sizes_are_scaled_to_cover_and_cut(folder: Path) -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 255  # the middle square is white
    save(folder / "cat" / "wide.png", wide)
    found = read_images(folder)
    assert found.pixels.shape[2:] == (64, 64)
    assert found.pixels[found.names.index(os.path.join("cat", "wide.png"))][:, 4:-4, 4:-4].min() == 255
    assert read_images(folder, size=(16, 24)).pixels.shape[2:] == (16, 24)


def test_a_picture_lying_on_its_side_is_turned_upright(folder: Path) -> None:
    own = picture(50)
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate 90 degrees clockwise to view"
    Image.fromarray(own).save(folder / "cat" / "turned.png", exif=exif)
    found = read_images(folder)
    place = found.names.index(os.path.join("cat", "turned.png"))
    assert np.array_equal(found.pixels[place], np.rot90(own, -1).transpose(2, 0, 1))


def test_train_and_test_folders_keep_their_division(folder: Path) -> None:
    whole = folder.parent / "divided"
    folder.rename(whole / "train" if whole.mkdir() is None else whole)
    for label in ("cat", "dog"):
        save(whole / "test" / label / "t.png", picture(99))
    found = read_images(whole)
    assert found.test is not None
    assert [name for name, held in zip(found.names, found.test, strict=True) if held] == [
        os.path.join("test", "cat", "t.png"), os.path.join("test", "dog", "t.png")]  # fmt: skip
    assert found.labels[found.test].tolist() == ["cat", "dog"]


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bomb(path: Path, side: int = 50_000) -> None:
    """A PNG whose head tells of 2.5 thousand million pixels, with no data behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


def text(path: Path) -> None:
    path.write_text("no picture")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [truncated, bomb, text, empty])
def test_a_file_that_cannot_be_used_is_skipped_by_name_or_refused_as_asked(folder: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    spoil(save(folder / "dog" / "bad.png", picture(5, 200, 200)))
    with pytest.warns(PoiseWarning, match=r"1 of 11 images were skipped.*bad\.png"):
        found = read_images(folder)
    assert len(found) == 10
    assert len(found.skipped) == 1
    with pytest.raises(DataError, match=r"bad\.png.*Repair or remove"):
        read_images(folder, bad="refuse")


def test_the_cap_is_on_the_head_before_anything_is_decoded(folder: Path) -> None:
    save(folder / "dog" / "large.png", picture(5, 40, 40))
    with pytest.warns(PoiseWarning, match="40 x 40 pixels, above the cap of 1599"):
        assert len(read_images(folder, cap=1599)) == 10
    assert len(read_images(folder, cap=1600)) == 11


def test_one_class_one_image_and_no_image_are_said(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no image in a folder of its class"):
        read_images(tmp_path / "none")
    save(tmp_path / "one" / "cat" / "a.png", picture(1))
    with pytest.raises(DataError, match=r"1 class of images .*cat"):
        read_images(tmp_path / "one")
    save(folder / "emu" / "a.png", picture(1))
    with pytest.raises(DataError, match="class 'emu' has fewer than 4 images"):
        read_images(folder)
    with pytest.raises(DataError, match="holds no images"):
        read_images(tmp_path / "absent")


def test_links_are_not_followed(folder: Path) -> None:
    (folder / "cat" / "loop").symlink_to(folder, target_is_directory=True)
    assert len(read_images(folder)) == 10


def many(folder: Path, count: int = 210) -> Path:
    for number in range(count):
        save(folder / "ab"[number % 2] / f"{number:03}.png", picture(number))
    return folder


def test_the_cache_gives_the_same_pictures_and_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    folder, cache = many(tmp_path / "many"), tmp_path / "cache"
    truncated(folder / "a" / "000.png")
    with pytest.warns(PoiseWarning, match="1 of 210"):
        first = read_images(folder, cache=cache)
    (kept,) = cache.iterdir()
    with pytest.warns(PoiseWarning, match="1 of 210"):
        again = read_images(folder, cache=cache)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.names == again.names
    assert first.skipped == again.skipped
    save(folder / "a" / "000.png", picture(1000))
    changed = read_images(folder, cache=cache)
    assert np.array_equal(changed.pixels[0], picture(1000).transpose(2, 0, 1))
    kept.write_bytes(b"damaged")
    for other in cache.iterdir():
        other.write_bytes(b"damaged")
    assert np.array_equal(read_images(folder, cache=cache).pixels, changed.pixels)


# ---- arrays ----


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW", "floats", "one channel last"])
def test_npz_arrays_of_every_layout_become_one(tmp_path: Path, layout: str) -> None:
    colour = np.stack([picture(number) for number in range(8)])
    grey = colour[..., :1]
    given, wanted = {
        "NHW": (grey[..., 0], grey.transpose(0, 3, 1, 2)),
        "NHWC": (colour, colour.transpose(0, 3, 1, 2)),
        "NCHW": (colour.transpose(0, 3, 1, 2), colour.transpose(0, 3, 1, 2)),
        "floats": ((colour / 255).astype(np.float32), colour.transpose(0, 3, 1, 2)),
        "one channel last": (grey, grey.transpose(0, 3, 1, 2)),
    }[layout]
    np.savez(tmp_path / "a.npz", images=given, labels=np.arange(8) % 2)
    found = read_images(tmp_path / "a.npz")
    assert np.array_equal(found.pixels, wanted)
    assert found.labels.tolist() == ["0", "1"] * 4


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        (np.zeros((8, 12, 12), np.float32) - 0.1, np.arange(8) % 2, r"floats must be in \[0, 1\]; got -0.1"),
        (np.full((8, 12, 12), np.nan, np.float32), np.arange(8) % 2, r"floats .* \[0, 1\]; picture 0 has .* Fill"),
        (np.zeros((8, 12, 12), np.int64), np.arange(8) % 2, "must be uint8, or floats"),
        (np.zeros((8, 12, 12, 5), np.uint8), np.arange(8) % 2, "1 or 3 channels"),
        (np.zeros((8, 0, 12, 12), np.uint8), np.arange(8) % 2, "1 or 3 channels"),
        (np.zeros((8, 12), np.uint8), np.arange(8) % 2, "must have shape"),
        (np.zeros((8, 12, 12), np.uint8), np.arange(7) % 2, "8 pictures and labels 7 labels"),
        (np.zeros((8, 12, 12), np.uint8), np.linspace(0, 1, 8), "one label a picture"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, images: np.ndarray, labels: np.ndarray, match: str) -> None:
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    with pytest.raises(DataError, match=match):
        read_images(tmp_path / "a.npz")


def test_arrays_beside_a_train_and_a_test_part_are_told(tmp_path: Path) -> None:
    pixels, labels = np.zeros((8, 12, 12), np.uint8), np.arange(8) % 2
    arrays = {f"{part}_{what}": given for part in ("train", "val", "test") for what, given in
              (("images", pixels), ("labels", labels))}  # fmt: skip
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.warns(PoiseWarning, match=r"a\.npz': val_images, val_labels are not read"):
        assert len(read_images(tmp_path / "a.npz")) == 16


def test_objects_are_never_unpickled_and_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([object()] * 8), labels=np.arange(8))
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        read_images(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        read_images(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", one=np.zeros(3), two=np.zeros(3))
    with pytest.raises(DataError, match=r"must hold arrays `images` and `labels`.*'one', 'two'"):
        read_images(tmp_path / "c.npz")


def test_arguments_are_checked(folder: Path) -> None:
    for wrong in ({"size": 4}, {"size": True}, {"size": (8, 9, 10)}, {"bad": "maybe"}, {"cap": 0}):
        with pytest.raises(ArgumentError, match=f"`read_images.{next(iter(wrong))}`"):
            read_images(folder, **wrong)  # type: ignore[arg-type]


def test_what_holds_images(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    np.savez(tmp_path / "a.npz", images=np.zeros(1))
    assert [holds_images(one) for one in (folder, tmp_path / "a.npz", tmp_path / "a.csv", "iris", None)] == [
        True, True, False, False, False]  # fmt: skip


def test_no_warning_of_pillow_escapes(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_images(folder)
