"""The global random generators as plain tensors and numbers: the user's own layers and shuffling draw from them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["generators", "set_generators"]


def generators() -> dict[str, Any]:
    """Return the states of torch's (CPU and GPUs), NumPy's and Python's global generators.

    >>> import torch
    >>> before = generators()
    >>> first = torch.rand(2)
    >>> set_generators(before)
    >>> bool((torch.rand(2) == first).all())
    True
    """
    kind, words, place, has_gauss, gauss = np.random.get_state(legacy=True)
    version, numbers, spare = random.getstate()
    own = torch.from_numpy(np.asarray(words).astype(np.int64))  # uint32 is no type of every torch
    return {
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
        "numpy": [str(kind), own, int(place), int(has_gauss), float(gauss)],
        "python": [version, list(numbers), spare],
    }


def set_generators(states: Mapping[str, Any]) -> None:
    """Put the states of `generators()` back."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, words, place, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, words.numpy().astype(np.uint32), place, has_gauss, gauss))
    version, numbers, spare = states["python"]
    random.setstate((version, tuple(numbers), spare))
