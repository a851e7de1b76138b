"""Image files that mean harm or are merely odd: each is named, none hangs, none runs a program."""

from __future__ import annotations

import os
import struct
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poise.core.errors import DataError, PoiseWarning
from poise.data.image_files import decode
from poise.data.images import read_images, read_pictures
from poise.study import Study

CAP = 1_000_000


def picture(seed: int, side: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def filled(folder: Path, *classes: str) -> Path:
    for place, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        for number in range(5):
            picture(10 * place + number).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return filled(tmp_path / "animals", "cat", "dog")


def reasons(folder: Path) -> list[str]:
    with pytest.warns(PoiseWarning):
        return [reason.split(": ", 1)[1] for reason in read_images(folder).skipped]


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp", "bmp"])
def test_a_file_cut_off_anywhere_is_skipped(folder: Path, ending: str) -> None:
    whole = folder / "cat" / f"whole.{ending}"
    picture(1, 60).save(whole)
    content = whole.read_bytes()
    for part in range(20):
        (folder / "cat" / f"cut{part}.{ending}").write_bytes(content[: len(content) * part // 20])
    with pytest.warns(PoiseWarning, match="20 of 31 images were skipped"):
        found = read_images(folder)
    assert len(found) == 11
    assert {name.split(": ")[0] for name in found.skipped} == {
        os.path.join("cat", f"cut{part}.{ending}") for part in range(20)
    }


def test_a_format_that_others_may_run_or_that_was_not_asked_for_is_no_image_whatever_its_name(folder: Path) -> None:
    # Pillow hands EPS to Ghostscript, which is a programming language.
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 12\n%%EndComments\nshowpage\n"
    (folder / "cat" / "program.jpg").write_bytes(eps)
    picture(1).save(folder / "cat" / "other.png", format="TIFF")
    assert reasons(folder) == ["not an image that can be read"] * 2


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    said: list[str] = []

    def read() -> None:
        with pytest.raises(DataError) as caught:
            decode(tmp_path / "pipe.png", CAP)
        said.append(str(caught.value))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(30)
    assert said == ["not a regular file"]


def test_links_to_files_and_to_classes_are_told_and_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "link.png").symlink_to(folder / "dog" / "0.png")
    (folder / "cat" / "broken.png").symlink_to(tmp_path / "absent.png")
    assert reasons(folder) == ["a link, which is not followed"] * 2
    for link in ("link", "broken"):
        (folder / "cat" / f"{link}.png").unlink()
    (folder / "emu").symlink_to(filled(tmp_path / "outside", "emu") / "emu", target_is_directory=True)
    with pytest.warns(PoiseWarning, match="emu is a link, which is not followed"):
        assert set(read_images(folder).labels) == {"cat", "dog"}


@pytest.mark.parametrize(
    "note",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\xff\xff\xff\xff" * 3,
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_damaged_note_of_the_camera_costs_no_picture(tmp_path: Path, note: bytes, ending: str) -> None:
    plain, noted = tmp_path / f"plain.{ending}", tmp_path / f"noted.{ending}"
    picture(3).save(plain)
    picture(3).save(noted, exif=note)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of the note
        assert np.array_equal(np.asarray(decode(noted, CAP)), np.asarray(decode(plain, CAP)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_grey_or_colour(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture(3).convert("RGBA" if mode == "RGBA" else "L" if mode in ("LA", "1") else "RGB").convert(mode).save(path)
    assert decode(path, CAP).mode == ("L" if mode in ("1", "L", "LA") else "RGB")


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = np.arange(0, 65536, 455, dtype=np.uint16).reshape(-1, 1)[:144].reshape(12, 12)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(np.asarray(decode(tmp_path / "deep.png", CAP)), deep >> 8)


def test_names_that_are_no_text_become_text(folder: Path) -> None:
    os.rename(os.fsencode(folder / "cat"), os.fsencode(folder) + b"/caf\xe9")
    found = read_images(folder)
    assert set(found.labels) == {"caf\\xe9", "dog"}
    assert "\n".join([*found.labels, *found.names]).encode("utf-8")


def test_one_folder_too_high_is_said(folder: Path) -> None:
    with pytest.raises(DataError, match="if the classes are inside 'animals', name that folder"):
        read_images(folder.parent)


def test_pictures_beside_the_class_folders_are_told(folder: Path) -> None:
    picture(1).save(folder / "loose.png")
    picture(2).save(folder / "loose2.png")
    with pytest.warns(PoiseWarning, match=r"loose\.png lies in no class folder and is left out, as 2 such files"):
        assert len(read_images(folder)) == 10


def test_a_class_of_the_test_part_alone_is_named(tmp_path: Path) -> None:
    filled(tmp_path / "divided" / "train", "cat", "dog")
    filled(tmp_path / "divided" / "test", "cat", "emu")
    with pytest.raises(DataError, match="class 'emu' is in the test part only"):
        read_images(tmp_path / "divided")


def test_few_images_to_learn_from_are_not_made_up_for_by_the_test_part(tmp_path: Path) -> None:
    filled(tmp_path / "divided" / "train", "cat", "dog")
    filled(tmp_path / "divided" / "test", "cat", "dog")
    for number in range(1, 5):
        (tmp_path / "divided" / "train" / "dog" / f"{number}.png").unlink()
    with pytest.raises(DataError, match="class 'dog' has fewer than 4 images to learn from"):
        read_images(tmp_path / "divided")


@pytest.mark.parametrize("height", [1, 50_000])
def test_a_line_and_a_point_are_pictures_too(folder: Path, height: int) -> None:
    Image.new("RGB", (1, height), (200, 10, 10)).save(folder / "cat" / "thin.png")
    found = read_images(folder)
    assert found.pixels.shape == (11, 3, 64, 64)


def test_pictures_of_one_pixel_can_be_studied(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (1, 1), 200 if number % 2 else 50).save(path)
    result = Study(tmp_path, budget="1trials", ablation=False, parts=["crop"], jobs=1).run()
    assert result.rows["test"] == 4


@pytest.mark.parametrize(
    "shape", ["(1000000000000, 10, 10)", "(10, 12, 12)", "(-1, 12)", f"({2**63 - 1}, {2**63 - 1})"]
)
def test_an_array_whose_head_lies_is_refused(tmp_path: Path, shape: str) -> None:
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    body = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64)
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("images.npy", body)
        archive.writestr("labels.npy", body)
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        read_images(tmp_path / "lie.npz")


@pytest.mark.parametrize(
    ("count", "match"), [(0, "must have shape"), (1, r"1 class of images \('0'\)"), (3, "fewer than 4 images")]
)
def test_arrays_with_too_little_are_refused(tmp_path: Path, count: int, match: str) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((count, 9, 9), np.uint8), labels=np.arange(count) % 2)
    with pytest.raises(DataError, match=match):
        read_images(tmp_path / "a.npz")


def test_floats_up_to_255_are_refused_with_the_remedy(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.full((8, 9, 9), 200.0, np.float32), labels=np.arange(8) % 2)
    with pytest.raises(DataError, match=r"floats must be in \[0, 1\]; got 200 to 200. Divide by 255"):
        read_images(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_predictions_name_the_file_that_cannot_be_read(folder: Path, content: bytes) -> None:
    (folder / "dog" / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.png.*Repair or remove it"):
        read_pictures(folder, channels=3, size=(12, 12))
