"""The global generators go through a file of tensors and numbers, and draw on as if nothing had been."""

import io
import random

import numpy as np
import pytest
import torch

from poise.adapters.generators import generators, set_generators

pytestmark = pytest.mark.usefixtures("seeded")


def draws() -> list[float]:
    return [float(torch.rand(())), float(np.random.rand()), float(np.random.normal()), random.random(), random.gauss()]


@pytest.mark.parametrize("before", [0, 1, 2, 700])
def test_every_generator_draws_on(before: int) -> None:
    for _ in range(before):
        draws()  # a normal leaves its twin behind in NumPy's and Python's generators
    file = io.BytesIO()
    torch.save(generators(), file)
    expected = [draws() for _ in range(3)]
    torch.manual_seed(9)
    np.random.seed(9)
    random.seed(9)
    file.seek(0)
    set_generators(torch.load(file, weights_only=True))
    assert [draws() for _ in range(3)] == expected


def test_reading_them_moves_none() -> None:
    generators()
    first = draws()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    assert draws() == first
