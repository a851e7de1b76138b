"""A fit that is kept on disk as it goes: made again with the same arguments and data, it goes on where it was cut.

A fit with a budget in configurations is a function of its arguments and data. So nothing of its course is stored but
what costs time: each bracket's outcome once it is finished, and the populations that are training. The rest is done
again and comes out the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from poise.core.errors import CheckpointError, shown
from poise.core.recipe import Recipe
from poise.study.atomic import write_bytes_atomic, write_text_atomic

__all__ = ["Checkpoint", "fingerprint"]


@dataclass
class Checkpoint:
    """The folder of one fit: a file for each piece of work, written whole or not at all.

    Raises: CheckpointError if the folder belongs to another fit, or a file in it is damaged.
    """

    folder: Path
    written: float = field(default_factory=time.monotonic)

    pause: ClassVar[float] = 10.0  # seconds of work that a crash may cost; writing a population takes a tenth of one

    @staticmethod
    def open(folder: str | Path, facts: Mapping[str, Any]) -> Checkpoint:
        """Begin or take up the checkpoint of the fit that `facts` describe."""
        place = Path(folder)
        own = {name: fingerprint(value) for name, value in facts.items()}
        file = place / "fit.json"
        if not file.exists():
            place.mkdir(parents=True, exist_ok=True)
            write_text_atomic(file, json.dumps(own, indent=1, sort_keys=True) + "\n")
        try:
            saved = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file} cannot be read: it is damaged. Remove the folder to begin anew.") from error
        others = [name for name in own if not isinstance(saved, dict) or saved.get(name) != own[name]]
        if others:
            raise CheckpointError(
                f"{shown(str(place), 200)} belongs to another fit, with another {', '.join(others)}. Use the same data "
                "and arguments to go on with it, or another folder."
            )
        return Checkpoint(place)

    def load(self, name: str) -> Any:
        """Return what was saved under a name, or None."""
        file = self.folder / f"{name}.pt"
        if not file.exists():
            return None
        try:
            return torch.load(file, weights_only=True)
        except Exception as error:  # torch raises many kinds for a file that is not its own
            raise CheckpointError(
                f"{file} cannot be read: it is damaged. Remove it to train that part anew."
            ) from error

    def save(self, name: str, state: Any) -> None:
        """Write tensors, numbers, text and containers of these under a name."""
        file = io.BytesIO()
        torch.save(state, file)
        write_bytes_atomic(self.folder / f"{name}.pt", file.getvalue())
        self.written = time.monotonic()

    def due(self) -> bool:
        """Return whether enough work was done since the last file to be worth another."""
        return time.monotonic() - self.written >= self.pause

    def remove(self, *names: str) -> None:
        """Remove files that are no longer needed."""
        for name in names:
            (self.folder / f"{name}.pt").unlink(missing_ok=True)


def fingerprint(value: Any) -> str:
    """Return a digest of data: of dataclasses, containers, arrays, tensors, recipes and plain values.

    >>> fingerprint({"a": 1.0}) == fingerprint({"a": 1.0}), fingerprint([1, 2]) == fingerprint([2, 1])
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Recipe):
        value = value.spec()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"array {value.dtype} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        digest.update(f"dict {len(value)} ".encode())
        for name in sorted(value, key=str):
            _feed(digest, str(name))
            _feed(digest, value[name])
    elif isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
        digest.update(f"list {len(value)} ".encode())
        for item in value:
            _feed(digest, item)
    else:
        text = repr(value).encode()
        digest.update(f"{type(value).__name__} {len(text)} ".encode() + text)
