"""What all tests share: one thread, examples that repeat, and fixtures for the global random numbers."""

import dataclasses
import os
import random
import signal
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")  # no window, also in scripts that a test starts

# A shell that runs the tests in the background has them ignore Ctrl-C, and what they start too; the tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One thread: xdist's workers share the cores, and sums keep one order, so results repeat bit for bit.
torch.set_num_threads(1)

hypothesis.settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=int(os.environ.get("POISE_EXAMPLES", "30")),
    print_blob=True,
)
hypothesis.settings.load_profile("ci")


def states() -> dict[str, Any]:
    """The global generators, as plain values that == compares."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy.random": (name, keys.tolist(), *rest),
        "random": random.getstate(),
    }


def restore(saved: dict[str, Any]) -> None:
    torch.set_rng_state(torch.tensor(saved["torch"], dtype=torch.uint8))
    np.random.set_state(saved["numpy.random"])
    random.setstate(saved["random"])


@pytest.fixture
def rng_untouched() -> Iterator[None]:
    """Fails the test if it moved a global generator: poise draws from its own, keyed by member, step and part."""
    before = states()
    yield
    after = states()
    restore(before)
    moved = [name for name in before if before[name] != after[name]]
    assert not moved, f"the test moved the global generator of {', '.join(moved)}"


@pytest.fixture
def seeded() -> Iterator[None]:
    """Gives the test global generators that start from 0, and puts the old ones back."""
    before = states()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    yield
    restore(before)


@pytest.fixture(scope="session")
def part_of() -> Callable[[str], Any]:
    """Makes a part by its key, away from neutral, fit for the small networks of `poise.testing`."""
    from poise.batch import InputNoise
    from poise.core.dial import dials_of
    from poise.core.regularizer import Regularizer
    from poise.testing import example

    given: dict[str, Any] = {  # by the name of a field without a default
        "tasks": ("a", "b", "c"), "modules": ("first", "second"), "start": 0, "steps": 2, "cycles": 1,
        "transforms": (InputNoise(0.1),),
    }  # fmt: skip
    fitting: dict[str, dict[str, Any]] = {"group_norm": {"groups": 1}}

    def make(key: str, **fields: Any) -> Any:
        kind = Regularizer.registry[key]
        needed = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
        found = {name: given[name] for name in needed if name not in dials_of(kind)}
        return example(kind, **found | fitting.get(key, {}) | fields)

    return make
