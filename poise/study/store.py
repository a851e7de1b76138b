"""A saved model: a folder of plain tensors and a manifest that vouches for every byte; nothing in it is ever executed.

`weights.safetensors` holds the tensors. `manifest.json` holds the format, the sha256 and size of the weights, the
metadata, and its own sha256, taken over its text with that one value left empty. safetensors alone would load a
flipped bit without a word.

A folder is replaced by two renames, so a crash leaves the old model or the new one, whole: between the renames the
old one stands beside its place, and `load_folder` finds it there. The next save removes what a crash left. One writer
at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poise import __version__
from poise.core.errors import ArgumentError, CheckpointError, shown
from poise.study.atomic import beside, leftovers, reason, sync_folder, write_new, write_text_atomic

__all__ = ["FORMAT", "load_folder", "save_folder", "write_text_atomic"]

FORMAT = 1
"""Version of the folder's layout; a reader refuses a newer one."""

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
MANIFEST_CAP = 32 * 2**20  # bytes; parsed JSON takes up to twenty times its text
NEW, OLD = ".new", ".old"  # endings of temporary names: what is being written, what is being replaced
DTYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
}


def save_folder(folder: Path, tensors: Mapping[str, torch.Tensor | np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a model folder so that it appears whole or not at all; a model already there is replaced last.

    Metadata come back equal, tuples as lists.

    Raises: ArgumentError for a tensor or a metadata value that the format cannot hold exactly; CheckpointError if the
    folder holds anything but a model, or cannot be written (the model that was there is then untouched).
    """
    from safetensors.torch import save

    folder = Path(os.path.abspath(folder))
    weights = save({name: _tensor(name, value) for name, value in tensors.items()})
    manifest = _manifest(weights, metadata)
    temporary = beside(folder, NEW)
    try:
        _check_replaceable(folder)
        _sweep(folder, NEW)
        temporary.mkdir()
        write_new(temporary / WEIGHTS, weights)
        write_new(temporary / MANIFEST, manifest)
        sync_folder(temporary)
        if folder.exists():
            _sweep(folder, OLD)  # of an earlier crash: `load_folder` must not meet two
            folder.rename(beside(folder, OLD))
        temporary.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"{_named(folder)} cannot be written: {reason(error)}. The model saved before is untouched; free space or "
            "choose another folder, and save again."
        ) from error
    _sweep(folder, OLD)


def load_folder(folder: Path, *, cap: int = 4 * 2**30) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a model folder, on the CPU, exactly as saved.

    `cap`: bytes of weights above which the folder is refused before they are read.

    Raises: CheckpointError naming the file, and the expected and the found sha256, whatever is wrong with it.
    """
    from safetensors.torch import load

    folder = Path(os.path.abspath(folder))
    if not os.path.exists(folder):  # unlike Path.exists, False for a name that is too long
        folder = next(leftovers(folder, OLD), folder)  # a crash between the two renames of a save
    if not os.path.isdir(folder):
        raise CheckpointError(f"{_named(folder)} is no folder with a saved model. Pass the `model` folder.")
    text = _read(folder / MANIFEST, MANIFEST_CAP, "a file")
    manifest = _checked_manifest(folder / MANIFEST, text)
    expected, size = manifest["files"][WEIGHTS]["sha256"], manifest["files"][WEIGHTS]["bytes"]
    if size > cap:
        raise CheckpointError(
            f"{_named(folder / WEIGHTS)} has {size} bytes by its manifest; the cap is {cap}. "
            f"Pass cap={size} if it is yours."
        )
    weights = _read(folder / WEIGHTS, cap, f"sha256 {expected}")
    found = hashlib.sha256(weights).hexdigest()
    if found != expected or len(weights) != size:
        raise CheckpointError(
            f"{_named(folder / WEIGHTS)} must have sha256 {expected} and {size} bytes; got {found} and {len(weights)} "
            "bytes. It is damaged or foreign: restore the folder from a copy, or run the study again."
        )
    try:
        return load(weights), manifest["metadata"]
    except Exception as error:  # safetensors raises several kinds, KeyError of an unknown dtype among them
        raise CheckpointError(
            f"{_named(folder / WEIGHTS)} is no safetensors file: {shown(str(error), 200)}. Run the study again."
        ) from error


# ---- what goes in ----


def _tensor(name: str, value: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Return a tensor that owns its memory on the CPU, as safetensors wants it, with the value's own type."""
    if not isinstance(name, str) or not name or name == "__metadata__":
        raise ArgumentError(f"`save_folder.tensors` must have names of text; got {shown(name)}. Choose another name.")
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise ArgumentError(
                f"`save_folder.tensors[{name!r}]` must hold numbers or booleans; got dtype {value.dtype}. "
                "Put text into the metadata, as a list of str."
            )
        try:
            # Not ascontiguousarray, which makes a 0-d array 1-d.
            value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="), order="C", copy=True))
        except TypeError as error:  # float128
            raise ArgumentError(f"`save_folder.tensors[{name!r}]`: torch has no {value.dtype}. Convert it.") from error
    if not isinstance(value, torch.Tensor):
        raise ArgumentError(f"`save_folder.tensors[{name!r}]` must be a tensor or an array; got {shown(value)}.")
    if value.layout is not torch.strided or value.is_meta or value.dtype not in DTYPES:
        raise ArgumentError(
            f"`save_folder.tensors[{name!r}]` must be a dense tensor of real numbers with values; got {value.dtype} "
            f"on {value.device}, {value.layout}. Convert it first."
        )
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _manifest(weights: bytes, metadata: dict[str, Any]) -> bytes:
    _check_plain(metadata, "save_folder.metadata")
    record = {
        "sha256": "",  # of this text as it stands here; first, so that its value is the first such text in the file
        "format": FORMAT,
        "poise": __version__,
        "files": {WEIGHTS: {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)}},
        "metadata": metadata,
    }
    # allow_nan: an encoder's clip may be inf. ASCII: a lone surrogate in a column name survives as an escape.
    blank = json.dumps(record, indent=1, allow_nan=True, ensure_ascii=True).encode("ascii")
    if len(blank) > MANIFEST_CAP:
        raise ArgumentError(
            f"`save_folder.metadata` must be below {MANIFEST_CAP} bytes as JSON; got {len(blank)}. "
            "Put numbers into tensors."
        )
    return blank.replace(b'"sha256": ""', f'"sha256": "{hashlib.sha256(blank).hexdigest()}"'.encode(), 1)


def _check_plain(value: object, place: str) -> None:
    """Refuse what JSON would change in silence (a key 1 comes back as "1") or not take at all."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ArgumentError(f"`{place}` must have keys of text; got {shown(key)}. Use str(key).")
            _check_plain(item, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            _check_plain(item, f"{place}[{at}]")
    elif not isinstance(value, str | int | float | bool | None):
        raise ArgumentError(
            f"`{place}` must be plain data (dict, list, str, int, float, bool, None); got {shown(value)}. Convert it."
        )


# ---- what comes out ----


def _checked_manifest(path: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{_named(path)} is no manifest of a saved model ({shown(str(error))}); got sha256 "
            f"{hashlib.sha256(text).hexdigest()}. It is damaged or foreign: restore the folder, or run the study again."
        ) from error
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if type(version) is int and version > FORMAT:
        raise CheckpointError(
            f"{_named(path)} has format {shown(version)}, of poise {shown(manifest.get('poise'))}; this poise "
            f"{__version__} reads up to {FORMAT}. Install the newer poise."
        )
    expected = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(expected, str) or len(expected) != 64 or not expected.isascii():
        raise CheckpointError(f"{_named(path)} must have a sha256; got {shown(expected)}. It is no saved model.")
    found = hashlib.sha256(text.replace(expected.encode(), b"", 1)).hexdigest()
    if found != expected:
        raise CheckpointError(
            f"{_named(path)} must have sha256 {expected}; got {found}. It is damaged or was edited: restore the folder "
            "from a copy, or run the study again."
        )
    if problem := _wrong_shape(manifest):
        raise CheckpointError(f"{_named(path)}: {problem}. It was not written by poise; run the study again.")
    return manifest  # type: ignore[no-any-return]  # _wrong_shape says that it is a dict


def _wrong_shape(manifest: dict[str, Any]) -> str:
    """Return what is not as `_manifest` writes it, or an empty text: a right checksum proves no good will."""
    files = manifest.get("files")
    if manifest.get("format") != FORMAT or type(manifest["format"]) is not int:
        return f"the format must be {FORMAT}; got {shown(manifest.get('format'))}"
    if not isinstance(files, dict) or set(files) != {WEIGHTS}:
        return f"the files must be {WEIGHTS} alone; got {shown(files)}"
    facts = files[WEIGHTS]
    if not isinstance(facts, dict) or not isinstance(facts.get("sha256"), str) or type(facts.get("bytes")) is not int:
        return f"{WEIGHTS} must have a sha256 and a number of bytes; got {shown(facts)}"
    if not isinstance(manifest.get("metadata"), dict):
        return f"the metadata must be an object; got {shown(manifest.get('metadata'))}"
    return ""


def _read(path: Path, cap: int, expected: str) -> bytes:
    """Return the bytes of a plain file; a link could lead anywhere, and a pipe would never end."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise CheckpointError(f"{_named(path)} is no plain file. Restore the folder from a copy.")
            if facts.st_size > cap:
                raise CheckpointError(
                    f"{_named(path)} has {facts.st_size} bytes; the cap is {cap}. It is no saved model."
                )
            return file.read(facts.st_size)
    except OSError as error:
        raise CheckpointError(
            f"{_named(path)} cannot be read: {reason(error)}; expected {expected}. Links are not followed; restore the "
            "folder from a copy."
        ) from error


# ---- the folder ----


def _named(path: Path) -> str:
    return shown(str(path), 200)


def _sweep(folder: Path, ending: str) -> None:
    for leftover in leftovers(folder, ending):
        shutil.rmtree(leftover, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise CheckpointError(f"{_named(folder)} is no folder of its own. Choose a new folder for the model.")
    if folder.exists() and (others := sorted(set(os.listdir(folder)) - {WEIGHTS, MANIFEST})):
        raise CheckpointError(
            f"{_named(folder)} holds more than a model ({shown(others)}), and saving would replace it. "
            "Choose a new folder."
        )
