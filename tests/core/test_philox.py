"""The generator in operations of torch gives the words of the one in plain integers, and stays on a key's device."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from poise.core.philox import philox, seeds_of
from poise.core.rng import Rng, key, keyed_words
from poise.core.visits import VisitRng
from poise.testing.oracles import philox_words

WORD = (1 << 64) - 1
OTHER = "lazy:0"  # a device that every build of torch knows fake tensors of; of a GPU only builds for it do
words = st.integers(0, WORD)


def signed(word: int) -> torch.Tensor:
    return torch.tensor(word - (1 << 64) if word >> 63 else word)


@given(words, words, words, words, st.integers(1, 11))
def test_words_are_those_of_philox_in_plain_integers(first: int, second: int, epoch: int, row: int, count: int) -> None:
    ours = philox(signed(first), signed(second), count, epoch=signed(epoch), row=signed(row))
    assert [word & WORD for word in ours.tolist()] == philox_words([first, second], [0, 0, epoch, row], count)


def test_many_keys_at_once_are_each_alone() -> None:
    keys = torch.stack([key(seed, member, step) for seed in (-1, 5) for member in (0, 2**40) for step in (0, 3)])
    first, second = seeds_of(keys, 77)
    together = philox(first, second, 6, epoch=keys[:, 2], row=torch.zeros(len(keys), dtype=torch.int64))
    assert torch.equal(together, torch.stack([keyed_words(one, 77, 6) for one in keys]))


def test_a_key_on_another_device_draws_there_and_asks_nothing_of_the_cpu() -> None:
    # A fake tensor has a device and a shape but no values: reading one, or mixing devices, raises.
    with FakeTensorMode():
        keys, visits = torch.zeros(3, dtype=torch.int64, device=OTHER), torch.zeros(5, 2, dtype=torch.int64)
        many = torch.zeros(4, 3, dtype=torch.int64, device=OTHER)
        drawn = [
            Rng(keys).keep("d", (2, 5), 0.5),
            Rng(keys).permutation("d", 9),
            Rng(keys).symmetric_beta("d", (3,), torch.ones((), device=OTHER)),
            VisitRng(keys, "p", visits).normal("d", (5, 2)),
            torch.vmap(lambda one: Rng(one).normal("d", (2,)))(many),
        ]
    assert [(tuple(one.shape), one.device.type) for one in drawn] == [
        ((2, 5), "lazy"), ((9,), "lazy"), ((3,), "lazy"), ((5, 2), "lazy"), ((4, 2), "lazy"),
    ]  # fmt: skip
