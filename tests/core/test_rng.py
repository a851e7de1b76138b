"""Keyed randomness: the words are Philox's, the laws are the laws, and position, order and population do not matter."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from poise.core.rng import Rng, key, keyed_words, stream
from poise.testing.oracles import chi_square, kolmogorov, philox_words

N = 1_000_000
ALPHA = 1e-6  # class P: a false alarm in a million runs
WORD = (1 << 64) - 1


def rng(seed: int = 11, member: int = 0, step: int = 0, name: str = "part") -> Rng:
    return Rng(key(seed, member, step), name)


# --- the words ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**62), st.integers(0, 2**31), st.integers(0, 2**31), st.integers(1, 9))
def test_words_are_those_of_numpy_with_the_same_key_and_counter(seed: int, member: int, step: int, count: int) -> None:
    number = stream("part/draw")
    philox_key = np.array([number ^ ((seed * 0x9E3779B97F4A7C15) & WORD), member], dtype=np.uint64)
    theirs = np.random.Philox(key=philox_key, counter=[0, 0, step, 0]).random_raw(count)
    ours = keyed_words(key(seed, member, step), number, count).numpy().view(np.uint64)
    assert ours.tolist() == theirs.tolist()


def test_words_are_those_of_philox_written_in_plain_integers() -> None:
    number = stream("p/d")
    philox_key = [number ^ ((5 * 0x9E3779B97F4A7C15) & WORD), 3]
    ours = keyed_words(key(5, 3, 2), number, 10).numpy().view(np.uint64)
    assert ours.tolist() == philox_words(philox_key, [0, 0, 2, 0], 10)


def test_words_are_the_recorded_ones() -> None:
    # A change here changes every study: raise the format version with it.
    assert rng(seed=1).words("draw", 2).tolist() == [-3309739685442367534, -1384721804549543672]
    assert stream("part/draw") == 8892797115189338736


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8])
def test_more_words_begin_with_the_fewer(count: int) -> None:
    assert torch.equal(rng().words("d", count), rng().words("d", 9)[:count])


def test_negative_and_large_keys_draw() -> None:
    keys = [key(s, m, t) for s in (-1, 0, 2**62) for m in (0, 2**40) for t in (0, 2**50)]
    seen = {tuple(keyed_words(k, 1, 2).tolist()) for k in keys}
    assert len(seen) == len(keys)


# --- independence of position, order and population ----------------------------------------------------------------


def population(members: list[int], step: int = 4) -> Tensor:
    keys = torch.stack([key(7, member, step) for member in members])
    return torch.vmap(lambda k: Rng(k, "part").uniform("u", (5,)))(keys)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8, unique=True))
def test_a_member_draws_the_same_in_any_population(members: list[int]) -> None:
    together = population(members)
    for place, member in enumerate(members):
        assert torch.equal(together[place], Rng(key(7, member, 4), "part").uniform("u", (5,)))


@pytest.mark.parametrize("draw", ["uniform", "normal", "keep", "permutation", "symmetric_beta", "words"])
def test_every_draw_is_the_same_mapped_and_alone(draw: str) -> None:
    def one(k: Tensor, dial: Tensor) -> Tensor:
        generator = Rng(k, "part")
        more = {"keep": (dial,), "symmetric_beta": (dial,)}.get(draw, ())
        shape = 7 if draw in ("permutation", "words") else (7,)
        return getattr(generator, draw)("d", shape, *more)  # type: ignore[no-any-return]

    keys = torch.stack([key(1, m, 2) for m in range(4)])
    dials = torch.tensor([0.1, 0.4, 0.6, 0.9])
    mapped = torch.vmap(one)(keys, dials)
    assert all(torch.equal(mapped[m], one(keys[m], dials[m])) for m in range(4))


def test_draws_do_not_depend_on_what_was_drawn_before() -> None:
    generator = rng()
    for _ in range(3):
        generator.uniform("other", (100,))
    assert torch.equal(generator.uniform("u", (4,)), rng().uniform("u", (4,)))


@pytest.mark.parametrize(
    "other", [{"seed": 12}, {"member": 1}, {"step": 1}, {"name": "other"}], ids=["seed", "member", "step", "name"]
)
def test_other_keys_are_uncorrelated(other: dict[str, int]) -> None:
    count = 200_000
    first, second = rng().uniform("u", (count,)), rng(**other).uniform("u", (count,))  # type: ignore[arg-type]
    r = float(torch.corrcoef(torch.stack([first, second]))[0, 1])
    assert abs(r) * math.sqrt(count) < 5


def test_consecutive_steps_and_members_do_not_overlap() -> None:
    # The counter of one step must not run into the next step's.
    rows = [rng(member=m, step=t).words("u", 64).tolist() for m in range(8) for t in range(8)]
    words = list(itertools.chain.from_iterable(rows))
    assert len(set(words)) == len(words)


def test_folded_names_are_streams_of_their_own() -> None:
    parent = rng()
    draws = [parent, parent.fold("a"), parent.fold("b"), parent.fold("a").fold("b")]
    assert len({tuple(d.words("u", 2).tolist()) for d in draws}) == 4
    assert repr(parent.fold("a")) == "Rng('part/a')"


@pytest.mark.usefixtures("rng_untouched")
def test_no_global_generator_moves() -> None:
    rng().normal("n", (10,))
    rng().symmetric_beta("b", (10,), 0.3)


# --- laws ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_is_uniform_and_open(dtype: torch.dtype) -> None:
    draws = rng().uniform("u", (1000, N // 1000), dtype)
    assert draws.dtype == dtype
    assert float(draws.min()) > 0
    assert float(draws.max()) < 1
    assert kolmogorov(draws) > ALPHA


def test_a_uniform_that_is_half_a_percent_off_is_caught() -> None:
    assert kolmogorov(rng().uniform("u", (N,), torch.float64) ** 1.01) < ALPHA


def test_the_extreme_bits_of_a_uniform_stay_inside_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    for word in (0, -1):
        monkeypatch.setattr(Rng, "words", lambda self, label, count, word=word: torch.full((count,), word))
        for dtype in (torch.float32, torch.float64):
            draw = rng().uniform("u", (2,), dtype)
            assert bool(((draw > 0) & (draw < 1)).all())
            assert bool(torch.isfinite(rng().normal("n", (2,), dtype)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_is_normal(dtype: torch.dtype) -> None:
    draws = rng().normal("n", (N,), dtype)
    assert kolmogorov(torch.special.ndtr(draws.double())) > ALPHA
    assert kolmogorov(torch.special.ndtr(draws.double() * 1.01)) < ALPHA, "a deviation of 1% must be caught"


@pytest.mark.parametrize("drop", [0.005, 0.2, 0.5, 0.9])
def test_keep_drops_at_its_rate(drop: float) -> None:
    dropped = N - int(rng().keep("k", (N,), drop).sum())
    assert scipy.stats.binomtest(dropped, N, drop).pvalue > ALPHA
    assert scipy.stats.binomtest(dropped, N, min(1.0, drop + 0.005)).pvalue < ALPHA, "half a point must be caught"


def test_keep_is_exact_at_both_ends() -> None:
    assert bool(rng().keep("k", (N,), 0.0).all())
    assert not bool(rng().keep("k", (N,), 1.0).any())
    assert not bool(rng().keep("k", (100,), torch.tensor(1.0)).any())


def test_keep_never_drops_all_for_certain_just_below_one() -> None:
    assert 0 < int(rng().keep("k", (N * 4,), 0.99999).sum()) < 300  # 61 are expected at 2^-16


def test_neighbouring_thresholds_of_one_word_are_independent() -> None:
    # Four masks come from one word.
    mask = rng().keep("k", (N,), 0.5).reshape(-1, 4)
    counts = torch.bincount((mask * torch.tensor([1, 2, 4, 8])).sum(1), minlength=16).tolist()
    assert chi_square(counts, [N / 4 / 16] * 16) > ALPHA
    assert chi_square([c + 250 * (-1) ** i for i, c in enumerate(counts)], [N / 4 / 16] * 16) < ALPHA


def test_permutations_of_four_are_equally_likely() -> None:
    count = 24_000
    keys = torch.stack([key(3, member) for member in range(count)])
    drawn = torch.vmap(lambda k: Rng(k).permutation("p", 4))(keys)
    codes = (drawn * torch.tensor([64, 16, 4, 1])).sum(1)
    seen = {code: int((codes == code).sum()) for code in codes.unique().tolist()}
    assert len(seen) == 24
    assert chi_square(list(seen.values()), [count / 24] * 24) > ALPHA


def test_a_shuffle_that_swaps_with_any_place_is_caught() -> None:
    # The classical wrong shuffle: 256 equally likely paths do not divide by 24.
    source = np.random.default_rng(0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(24_000):
        order = [0, 1, 2, 3]
        for place in range(4):
            other = int(source.integers(4))
            order[place], order[other] = order[other], order[place]
        counts[tuple(order)] = counts.get(tuple(order), 0) + 1
    assert chi_square(list(counts.values()), [1000.0] * 24) < ALPHA


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 2.0, 5.0])
def test_symmetric_beta_is_beta(alpha: float) -> None:
    draws = rng().symmetric_beta("b", (N,), alpha, torch.float64)
    assert float(draws.min()) >= 0
    assert float(draws.max()) <= 1
    assert kolmogorov(torch.from_numpy(scipy.stats.beta.cdf(draws.numpy(), alpha, alpha))) > ALPHA
    wrong = scipy.stats.beta.cdf(draws.numpy(), alpha * 1.03, alpha * 1.03)
    assert kolmogorov(torch.from_numpy(wrong)) < ALPHA, "an alpha that is 3% off must be caught"


def test_symmetric_beta_may_differ_by_draw_and_bears_extreme_alphas() -> None:
    alpha = torch.tensor([0.0, 1e-6, 1e-2, 1.0, 1e4, 1e8])
    draws = rng().symmetric_beta("b", (6,), alpha)
    assert bool(torch.isfinite(draws).all())
    assert bool(((draws[:2] == 0) | (draws[:2] == 1)).all())
    assert abs(float(draws[5]) - 0.5) < 1e-3


def test_empty_shapes_are_drawn() -> None:
    assert rng().uniform("u", (0, 3)).shape == (0, 3)
    assert rng().keep("k", (0,), 0.5).shape == (0,)
    assert rng().permutation("p", 1).tolist() == [0]
