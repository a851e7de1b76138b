"""A damaged, foreign or hostile model folder is refused with a reason; nothing in it runs (bad inputs 101-103, 110)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from poise.core.errors import CheckpointError
from poise.study.store import load_folder, save_folder

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
TENSORS = {"w": torch.arange(600, dtype=torch.float32).reshape(20, 30)}
METADATA = {"kind": "test", "columns": ["age", "Größe 😀"], "clip": 3.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(tmp_path / "model", TENSORS, METADATA)
    return tmp_path / "model"


def sign(folder: Path, change: Callable[[dict[str, Any]], object], *, weights: bytes | None = None) -> None:
    """Change the manifest, and the weights, as one who knows the format would: every checksum is right."""
    if weights is not None:
        (folder / WEIGHTS).write_bytes(weights)
    manifest = json.loads((folder / MANIFEST).read_text())
    data = (folder / WEIGHTS).read_bytes()
    manifest["files"][WEIGHTS] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    change(manifest)
    blank = json.dumps(manifest | {"sha256": ""}, indent=1)
    checksum = hashlib.sha256(blank.encode()).hexdigest()
    (folder / MANIFEST).write_text(blank.replace('"sha256": ""', f'"sha256": "{checksum}"', 1))


# ---- damage ----


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
@pytest.mark.parametrize("share", range(0, 100, 5))
def test_a_file_cut_anywhere_is_refused(name: str, share: int, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) * share // 100])
    with pytest.raises(CheckpointError) as caught:
        load_folder(folder)
    found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert str(folder / name) in str(caught.value)
    assert found in str(caught.value)
    if name == WEIGHTS:
        assert hashlib.sha256(whole).hexdigest() in str(caught.value)


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_every_flipped_bit_is_noticed(name: str, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    every = range(8 * len(whole))
    places = random.Random(0).sample(every, 300)
    for place in places:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        (folder / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            load_folder(folder)
    (folder / name).write_bytes(whole)
    assert load_folder(folder)[1] == METADATA


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_bytes_added_or_swapped_are_noticed(name: str, folder: Path, tmp_path: Path) -> None:
    whole = (folder / name).read_bytes()
    save_folder(tmp_path / "other", TENSORS | {"w": torch.zeros(20, 30)}, METADATA | {"kind": "best"})
    for data in (whole + b"\0", whole + b"\n", (tmp_path / "other" / name).read_bytes()):
        (folder / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=r"must have sha256|no manifest"):
            load_folder(folder)


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    expected = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() if name == WEIGHTS else "a file"
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}' cannot be read: No such file.*expected .*{expected}"):
        load_folder(folder)


# ---- foreign and hostile ----


@pytest.mark.parametrize("path", ["nothing", "file", "empty", "x" * 300])
def test_what_is_no_model_folder_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no folder with a saved model|cannot be read"):
        load_folder(tmp_path / path)


def test_a_newer_format_says_which_poise_wrote_it(folder: Path) -> None:
    sign(folder, lambda manifest: manifest.update(format=2, poise="9.9.9"))
    with pytest.raises(CheckpointError, match=r"format 2, of poise '9\.9\.9'.*reads up to 1"):
        load_folder(folder)


WRONG_TYPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "format of text": lambda m: m.update(format="1"),
    "format true": lambda m: m.update(format=True),
    "format 0": lambda m: m.update(format=0),
    "no format": lambda m: m.pop("format"),
    "files a list": lambda m: m.update(files=[WEIGHTS]),
    "no files": lambda m: m.update(files={}),
    "a file more": lambda m: m["files"].update({"../../secret": m["files"][WEIGHTS]}),
    "another path": lambda m: m.update(files={"../canary": m["files"][WEIGHTS]}),
    "an absolute path": lambda m: m.update(files={"/etc/passwd": m["files"][WEIGHTS]}),
    "facts of text": lambda m: m["files"].update({WEIGHTS: "x"}),
    "bytes of text": lambda m: m["files"][WEIGHTS].update(bytes="9"),
    "bytes true": lambda m: m["files"][WEIGHTS].update(bytes=True),
    "bytes below 0": lambda m: m["files"][WEIGHTS].update(bytes=-1),
    "bytes huge": lambda m: m["files"][WEIGHTS].update(bytes=10**18),
    "sha256 a number": lambda m: m["files"][WEIGHTS].update(sha256=3),
    "metadata a list": lambda m: m.update(metadata=[]),
    "no metadata": lambda m: m.pop("metadata"),
}


@pytest.mark.parametrize("word", WRONG_TYPES)
def test_a_signed_manifest_of_wrong_types_is_refused(word: str, folder: Path) -> None:
    sign(folder, WRONG_TYPES[word])
    with pytest.raises(CheckpointError, match=r"manifest\.json|weights\.safetensors"):
        load_folder(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "3", '"x"', "{", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\ufeff{}"]
)
def test_a_manifest_that_is_no_object_is_refused(text: str, folder: Path) -> None:
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        load_folder(folder)


class Touch:
    """Creates the canary file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def hostile(word: str, canary: Path) -> bytes:
    buffer = io.BytesIO()
    if word == "pickle":
        return pickle.dumps(Touch(canary))
    if word == "torch.save":
        torch.save(Touch(canary), buffer)
    elif word == "torch.save, old format":
        torch.save(Touch(canary), buffer, _use_new_zipfile_serialization=False)
    elif word == "object array":
        np.save(buffer, np.array([Touch(canary)], dtype=object), allow_pickle=True)
    elif word == "zip bomb":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("weights", bytes(200 * 2**20))
    elif word == "TorchScript":
        torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1, 1)), buffer)
    elif word == "YAML tag":
        return f"!!python/object/apply:pathlib.Path.touch [{canary}]".encode()
    return buffer.getvalue()


HOSTILE = ["pickle", "torch.save", "torch.save, old format", "object array", "zip bomb", "TorchScript", "YAML tag"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("place", [WEIGHTS, MANIFEST])
@pytest.mark.parametrize("word", HOSTILE)
def test_nothing_is_ever_executed_or_unpacked(word: str, place: str, folder: Path, tmp_path: Path) -> None:
    data = hostile(word, tmp_path / "canary")
    if place == WEIGHTS:
        sign(folder, lambda manifest: None, weights=data)
    else:
        (folder / MANIFEST).write_bytes(data)
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(CheckpointError):
        load_folder(folder)
    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not (tmp_path / "canary").exists()
    assert peak < 100e6
    assert seconds < 1


def header(text: str | bytes, size: int | None = None) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return (len(data) if size is None else size).to_bytes(8, "little") + data


BROKEN_SAFETENSORS = {
    "nothing": b"",
    "no header": header("", 8),
    "a header of 2^60 bytes": header("{}", 2**60),
    "a list": header("[]"),
    "no UTF-8": header(b'{"\xff": 1}'),
    "deep": header("[" * 100_000),
    "an unknown dtype": header('{"w":{"dtype":"F99","shape":[0],"data_offsets":[0,0]}}'),
    "offsets outside": header('{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'),
    "offsets that cross": header('{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}') + bytes(4),
    "a shape below 0": header('{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}') + bytes(4),
    "a shape of 2^80": header('{"w":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}')
    + bytes(4),
    "a hole": header('{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}') + bytes(2),
    "bytes after": save({"w": torch.zeros(1)}) + b"x",
}


@pytest.mark.parametrize("word", BROKEN_SAFETENSORS)
def test_broken_safetensors_with_right_checksums_are_refused(word: str, folder: Path) -> None:
    sign(folder, lambda manifest: None, weights=BROKEN_SAFETENSORS[word])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors' is no safetensors file"):
        load_folder(folder)


def test_a_file_above_the_cap_is_not_read(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"bytes by its manifest; the cap is 100\. Pass cap="):
        load_folder(folder, cap=100)
    os.truncate(folder / WEIGHTS, 2**40)  # sparse: takes no room
    with pytest.raises(CheckpointError, match="has 1099511627776 bytes; the cap is"):
        load_folder(folder)
    os.truncate(folder / MANIFEST, 2**40)
    with pytest.raises(CheckpointError, match=r"manifest\.json' has 1099511627776 bytes; the cap is"):
        load_folder(folder)


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
@pytest.mark.parametrize("kind", ["link", "link that dangles", "folder", "pipe", "device"])
def test_only_plain_files_are_read(kind: str, name: str, folder: Path, tmp_path: Path) -> None:
    (folder / name).rename(tmp_path / "outside")
    if kind.startswith("link"):
        (folder / name).symlink_to(tmp_path / ("outside" if kind == "link" else "nowhere"))
    elif kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / name)
    else:
        try:
            os.mknod(folder / name, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero never ends
        except PermissionError:
            pytest.skip("this user cannot make devices")
    with pytest.raises(CheckpointError, match=rf"{name}' (cannot be read|is no plain file)"):
        load_folder(folder)
