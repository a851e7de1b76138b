"""The saved model: exact, and whole or not there, whatever happens while it is written."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from poise import __version__
from poise.core.errors import ArgumentError, CheckpointError
from poise.study.store import load_folder, save_folder

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
TENSORS = {"w": torch.arange(600, dtype=torch.float32).reshape(20, 30), "steps": np.array([1, 2**62], dtype=np.int64)}
METADATA = {"kind": "test", "columns": ["age", "Größe 😀"], "clip": 3.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(tmp_path / "model", TENSORS, METADATA)
    return tmp_path / "model"


# ---- what goes in comes out ----


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int64, np.uint8, np.float16, np.float32, np.float64])
def test_arrays_come_back_bit_for_bit(dtype: type, tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, 480, dtype=np.uint8)
    flat = (raw[:60] & 1).astype(bool) if dtype is np.bool_ else raw.view(dtype)[:60]
    arrays = {
        "plain": flat,
        "fortran": np.asfortranarray(flat.reshape(6, 10)),
        "reversed": flat[::-1],
        "strided": flat.reshape(6, 10)[:, ::3],
        "scalar": np.array(flat[0]),
        "empty": flat[:0].reshape(0, 3),
        "swapped": flat.astype(flat.dtype.newbyteorder(">")),
    }
    save_folder(tmp_path / "m", arrays, {})
    found, _ = load_folder(tmp_path / "m")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        back = found[name].numpy()
        assert back.dtype == dtype, name
        assert back.shape == array.shape, name
        assert back.tobytes() == array.astype(dtype).tobytes(), name


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_come_back_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    whole = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(100).to(dtype)
    tensors = {"whole": whole, "view": whole[1:], "transposed": whole.t(), "grad": whole[0]}
    tensors["grad"] = tensors["grad"].clone().requires_grad_(dtype.is_floating_point)
    tensors |= {"a part of one memory": whole[::2], "a/name.with 😀": whole[0, 0]}
    save_folder(tmp_path / "m", tensors, {})
    found, _ = load_folder(tmp_path / "m")
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], tensor.detach()), name
        assert not found[name].requires_grad


def test_extreme_floats_come_back(tmp_path: Path) -> None:
    values = np.array([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
    save_folder(tmp_path / "m", {"v": values}, {})
    assert load_folder(tmp_path / "m")[0]["v"].numpy().tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"a": [1, 2.5, "x", None, True], "b": {"c": {}}},
        {"clip": math.inf, "least": -math.inf, "tiny": 5e-324, "third": 1 / 3, "count": 2**80},
        {"": "", "sha256": "", "quote": '"sha256": ""', "nul": "\0", "lone": "\ud800", "emoji": "😀\u2028"},
        {"sha256": "0" * 64, "files": {WEIGHTS: "../x"}},
    ],
    ids=["none", "nested", "numbers", "text", "look-alikes"],
)
def test_metadata_come_back_equal(metadata: dict[str, Any], tmp_path: Path) -> None:
    save_folder(tmp_path / "m", {}, metadata)
    assert load_folder(tmp_path / "m") == ({}, metadata)


def test_metadata_keep_nan_and_turn_tuples_into_lists(tmp_path: Path) -> None:
    save_folder(tmp_path / "m", {}, {"score": math.nan, "pair": (1, (2,))})
    found = load_folder(tmp_path / "m")[1]
    assert math.isnan(found["score"])
    assert found["pair"] == [1, [2]]


def test_the_manifest_can_be_read_and_checked_by_hand(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    data = (folder / WEIGHTS).read_bytes()
    assert sorted(os.listdir(folder)) == [MANIFEST, WEIGHTS]
    assert (manifest["format"], manifest["poise"], manifest["metadata"]) == (1, __version__, METADATA)
    assert manifest["files"] == {WEIGHTS: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}}


BAD_TENSORS = {
    "text": (np.array(["a"]), "numbers or booleans; got dtype <U1"),
    "objects": (np.array([{}], dtype=object), "numbers or booleans; got dtype object"),
    "dates": (np.array(["2020-01-01"], dtype="datetime64[D]"), "numbers or booleans; got dtype datetime64"),
    "records": (np.zeros(2, dtype=[("a", "f4")]), "numbers or booleans"),
    "complex array": (np.zeros(2, dtype=np.complex64), "numbers or booleans"),
    "long double": (np.zeros(2, dtype=np.longdouble), "torch has no float128"),
    "complex": (torch.zeros(2, dtype=torch.complex64), "dense tensor of real numbers"),
    "meta": (torch.zeros(2, device="meta"), "dense tensor of real numbers"),
    "sparse": (torch.eye(2).to_sparse(), "dense tensor of real numbers"),
    "list": ([1.0], "a tensor or an array; got"),
    "none": (None, "a tensor or an array; got None"),
}


@pytest.mark.parametrize("word", BAD_TENSORS)
def test_a_tensor_that_cannot_be_kept_is_refused(word: str, folder: Path) -> None:
    value, message = BAD_TENSORS[word]
    with pytest.raises(ArgumentError, match=message) as caught:
        save_folder(folder, {"names": value}, {})
    assert "`save_folder.tensors['names']`" in str(caught.value)
    assert load_folder(folder)[1] == METADATA, "a refusal must leave the old model"


@pytest.mark.parametrize("name", ["", "__metadata__", 3])
def test_a_tensors_name_is_text(name: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="must have names of text"):
        save_folder(tmp_path / "m", {name: torch.zeros(1)}, {})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": {1: 2}}, r"metadata\['a'\]` must have keys of text; got 1"),
        ({"a": [np.int64(3)]}, r"metadata\['a'\]\[0\]` must be plain data .* got np.int64\(3\)"),
        ({"a": b"x"}, "plain data"),
        ({"a": Path("x")}, "plain data"),
        ({"a": {1}}, "plain data"),
        ({"a": "x" * (33 * 2**20)}, "must be below 33554432 bytes"),
    ],
    ids=["key", "numpy", "bytes", "path", "set", "size"],
)
def test_metadata_that_json_would_change_are_refused(metadata: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=message):
        save_folder(tmp_path / "m", {}, metadata)
    assert not list(tmp_path.iterdir())


# ---- replacing ----


def test_a_second_save_replaces_the_first_and_sweeps_what_crashes_left(folder: Path) -> None:
    for left in (".model.0123abcd.new", ".model.89abcdef.old"):
        (folder.parent / left).mkdir()
        (folder.parent / left / WEIGHTS).write_bytes(b"half")
    strangers = [
        ".model.short.new",
        ".models.0123abcd.new",
        ".model.0123abcd.new.txt",
        "model.0123abcd.new",
        ".model.ZZZZZZZZ.old",
    ]
    for name in strangers:
        (folder.parent / name).mkdir()
    save_folder(folder, {"w": torch.ones(2)}, {"second": True})
    tensors, metadata = load_folder(folder)
    assert metadata == {"second": True}
    assert tensors["w"].tolist() == [1, 1]
    assert sorted(os.listdir(folder.parent)) == sorted([*strangers, "model"])


def test_a_crash_between_the_two_renames_loses_nothing(folder: Path) -> None:
    folder.rename(folder.parent / ".model.0123abcd.old")
    assert load_folder(folder)[1] == METADATA
    save_folder(folder, {}, {"next": 1})
    assert load_folder(folder)[1] == {"next": 1}
    assert os.listdir(folder.parent) == ["model"]


@pytest.mark.parametrize("kind", ["a folder with other files", "a file", "a link"])
def test_what_is_not_a_model_is_never_replaced(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "model"
    if kind == "a file":
        place.write_text("mine")
    elif kind == "a link":
        (tmp_path / "mine").mkdir()
        place.symlink_to(tmp_path / "mine")
    else:
        place.mkdir()
        (place / "thesis.tex").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match="Choose a new folder"):
        save_folder(place, TENSORS, METADATA)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_model_can_be_replaced(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    save_folder(folder, TENSORS, METADATA)
    assert load_folder(folder)[1] == METADATA


@pytest.mark.parametrize("name", ["with spaces", "😀 Größe", "n" * 255, "-rf", "a\nb", "per%20cent?#"])
def test_any_name_will_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        save_folder(Path(name), TENSORS, METADATA)
    assert load_folder(Path(name))[1] == METADATA
    assert os.listdir() == [name]


def test_a_full_disk_leaves_the_old_model_and_no_litter(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {"w": torch.zeros(200_000)}
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(
            CheckpointError, match=r"cannot be written: File too large.*The model saved before is untouched"
        ):
            save_folder(folder, big, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_folder(folder)[1] == METADATA
    assert os.listdir(folder.parent) == ["model"]


def test_a_parent_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere/model' cannot be written: No such file"):
        save_folder(tmp_path / "nowhere" / "model", TENSORS, METADATA)


# ---- kill -9 ----

KILLS = 25


def kill_writers(folder: Path, seed: int) -> None:
    """Kill a process that saves again and again; after each kill the model is the last acknowledged one or the next."""
    generator = random.Random(seed)
    tensors = {"w": torch.arange(200_000, dtype=torch.float32)}
    acknowledged = folder.parent / "acknowledged"
    acknowledged.write_bytes(b"")
    save_folder(folder, {"w": tensors["w"] - 1}, {"number": -1})
    last = -1
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            number = load_folder(folder)[1]["number"]
            with open(acknowledged, "ab", buffering=0) as file:
                while True:
                    number += 1
                    save_folder(folder, {"w": tensors["w"] + number}, {"number": number})
                    file.write(f"{number}\n".encode())
        time.sleep(generator.uniform(0.01, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found, metadata = load_folder(folder)
        # A child goes on from what it finds, so a save that was killed before its acknowledgement counts too.
        last = max(last, int((acknowledged.read_text().split() or ["-1"])[-1]))
        assert metadata["number"] in (last, last + 1), (metadata, last)
        last = metadata["number"]
        assert torch.equal(found["w"], tensors["w"] + metadata["number"]), "half a model"
        left = [name for name in os.listdir(folder.parent) if name.endswith((".new", ".old"))]
        assert len(left) <= 2, left  # what was being written, and what it replaces
    save_folder(folder, {}, {})
    assert sorted(os.listdir(folder.parent)) == ["acknowledged", folder.name]
    print(f"{KILLS} kills, {acknowledged.read_text().count(chr(10))} saves acknowledged")  # noqa: T201


def test_kill_9_never_loses_or_halves_a_model(tmp_path: Path) -> None:
    # A process of its own forks the writers: forking pytest would copy its threads' locks.
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "model"), "0"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[2]) >= 5, "the writers were killed before they could write"


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_writers(Path(sys.argv[1]), int(sys.argv[2]))
