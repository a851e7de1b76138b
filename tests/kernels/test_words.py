"""Random words of the native tier against NumPy's own Philox."""

import numpy as np
import pytest
import torch

from poise.core.rng import Rng, key, keyed_words, stream
from poise.core.visits import VisitRng


def numpys(seed: int, member: int, step: int, number: int, count: int) -> np.ndarray:
    first = number ^ ((seed * 0x9E3779B97F4A7C15) % 2**64)
    state = np.random.Philox(key=first + (member % 2**64 << 64), counter=(step % 2**64) << 128)
    return state.random_raw(count).view(np.int64)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 1001])
def test_words_are_numpys(tier: str, count: int) -> None:
    keys = [[0, 0, 0], [7, 3, 11], [-5, 2, 2**40]]
    words = keyed_words(torch.tensor(keys), stream("a layer"), count)
    for row, given in zip(words, keys, strict=True):
        np.testing.assert_array_equal(row.numpy(), numpys(*given, stream("a layer"), count))


def test_keys_may_be_a_view(tier: str) -> None:
    keys = torch.tensor([[1, 9, 2, 9, 3], [4, 9, 5, 9, 6]])[:, ::2]
    assert not keys.is_contiguous()
    assert torch.equal(keyed_words(keys, 1, 6), keyed_words(keys.contiguous(), 1, 6))


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 3), (4096,)])
def test_uniforms_are_those_of_the_twin(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(shape[0])
    draws = [Rng(key(3, 1, 2), "part"), VisitRng(key(3, 1, 2), "part", torch.stack([rows, rows % 3], -1))]
    found = [draw.uniform("places", shape) for draw in draws]
    monkeypatch.setattr("poise.core.rng.available", lambda: False)
    for draw, own in zip(draws, found, strict=True):
        twin = draw.uniform("places", shape)
        assert torch.equal(own, twin)
        bits = (draw.numbers("places", shape, torch.int32).double() / 512).floor() % 2**23  # the upper 23 bits
        assert torch.equal(own.double(), (bits + 0.5) / 2**23)


def test_draws_are_made_where_the_key_is_whatever_the_default_device(tier: str) -> None:
    keys, rows = key(3, 1, 2), torch.arange(5)
    draws = [Rng(keys, "part"), VisitRng(keys, "part", torch.stack([rows, rows % 3], -1))]
    wanted = [draw.uniform("places", (5, 2)) for draw in draws]
    with torch.device("meta"):  # a kernel that wrote to a tensor there would write to address 0
        found = [draw.uniform("places", (5, 2)) for draw in draws]
    assert all(map(torch.equal, found, wanted))
