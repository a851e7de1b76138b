"""Draws of samples: NumPy's Philox, and a function of seed, member, sample, epoch and name only."""

import numpy as np
import pytest
import torch

from poise.core.context import Batch
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key, stream
from poise.core.visits import VisitRng, draws_of, visits_of
from poise.kernels import native
from poise.testing.oracles import chi_square


def rng_of(ids: list[int], epoch: int = 0, seed: int = 0, member: int = 0) -> VisitRng:
    return VisitRng(key(seed, member, step=77), "part", torch.tensor([[one, epoch] for one in ids]))


@pytest.fixture(params=["native", "eager"])
def tier(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    with native(request.param == "native") as there:
        if request.param == "native" and not there:
            pytest.skip("the native kernels are not built: no C compiler")
        yield request.param


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_words_are_numpys(tier: str, count: int) -> None:
    for seed, member, sample, epoch in [(0, 0, 0, 0), (7, 3, 11, 2), (2**40, 2, 2**40, 2**33), (-5, 1, 5, 1)]:
        words = rng_of([3, sample], epoch, seed, member).words("label", count)[1]
        first = stream("part/label") ^ ((seed * 0x9E3779B97F4A7C15) % 2**64)
        counter = (epoch << 128) + (sample + 1 << 192)
        state = np.random.Philox(key=first + (member << 64), counter=counter)
        np.testing.assert_array_equal(words.numpy(), state.random_raw(count).view(np.int64))


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_samples_numbers_are_its_own_in_any_batch_and_order(
    tier: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    together = rng_of([5, 9, 2]).uniform("u", (3, *shape), dtype)
    turned = rng_of([2, 5]).uniform("u", (2, *shape), dtype)
    assert torch.equal(together[[2, 0]], turned)


def test_other_seeds_members_samples_epochs_and_names_draw_otherwise() -> None:
    usual = rng_of([4]).uniform("u", (1, 4))
    others = [rng_of([5]), rng_of([4], epoch=1), rng_of([4], seed=1), rng_of([4], member=1), rng_of([4]).fold("view")]
    assert not any(torch.equal(usual, other.uniform("u", (1, 4))) for other in others)
    assert not torch.equal(usual, rng_of([4]).uniform("v", (1, 4)))
    assert not torch.equal(usual[0], Rng(key(0, 0, 0), "part").uniform("u", (4,)))


def test_members_mapped_by_vmap_draw_what_they_draw_alone(tier: str) -> None:
    keys = torch.stack([key(1, member) for member in (0, 4)])
    visits = torch.tensor([[[0, 0], [3, 1]], [[8, 0], [1, 2]]])
    mapped = torch.vmap(lambda k, v: VisitRng(k, "part", v).uniform("u", (2, 3)))(keys, visits)
    shared = torch.vmap(lambda k: VisitRng(k, "part", visits[0]).uniform("u", (2, 3)))(keys)
    for place in range(2):
        assert torch.equal(mapped[place], VisitRng(keys[place], "part", visits[place]).uniform("u", (2, 3)))
        assert torch.equal(shared[place], VisitRng(keys[place], "part", visits[0]).uniform("u", (2, 3)))


def test_a_shape_that_does_not_begin_with_the_rows_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"draws of 2 samples need a shape that begins so; got \(5, 2\)"):
        rng_of([0, 1]).uniform("u", (5, 2))


def test_partners_move_with_the_order_of_the_rows() -> None:
    ids = torch.tensor([11, 3, 7, 20, 5])
    partner = rng_of(ids.tolist()).permutation("p", 5)
    assert sorted(partner.tolist()) == list(range(5))
    of_sample = dict(zip(ids.tolist(), ids[partner].tolist(), strict=True))
    turned = ids[[4, 2, 0, 1, 3]]
    again = turned[rng_of(turned.tolist()).permutation("p", 5)]
    assert dict(zip(turned.tolist(), again.tolist(), strict=True)) == of_sample


def test_partners_are_a_uniform_permutation_and_a_cycle_is_caught() -> None:
    draws = [tuple(rng_of([0, 1, 2], epoch).permutation("p", 3).tolist()) for epoch in range(6000)]
    counts = [draws.count(one) for one in sorted(set(draws))]
    assert len(counts) == 6
    assert chi_square(counts, [1000.0] * 6) > 1e-6
    cycles = [3000, 3000, 0, 0, 0, 0]  # of one random order, the next one as the partner: never a fixed point
    assert chi_square(cycles, [1000.0] * 6) < 1e-6


def test_a_batch_without_visits_draws_by_place() -> None:
    rng = Rng(key(0), "part")
    assert draws_of(rng, Batch(torch.zeros(2), torch.zeros(2))) is rng


def test_ids_and_epoch_make_visits() -> None:
    assert visits_of(None, None, 2) is None
    assert visits_of([4, 9], 3, 2).tolist() == [[4, 3], [9, 3]]  # type: ignore[union-attr]
    assert visits_of(torch.tensor([4, 9]), torch.tensor([3, 2]), 2).tolist() == [[4, 3], [9, 2]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("ids", "epoch", "message"),
    [
        ([0, 1], None, r"`Run.batch.epoch` must be given with the other"),
        (None, 0, r"`Run.batch.ids` must be given with the other"),
        ([0, -1], 0, r"`Run.batch.ids` must be whole numbers >= 0; got \[0, -1\]"),
        ([0, 1], -1, r"`Run.batch.epoch` must be whole numbers >= 0; got -1"),
        ([0.0, 1.0], 0, r"`Run.batch.ids` must be whole numbers"),
        (["a", "b"], 0, r"`Run.batch.ids` must be whole numbers"),
        ([0, 1], True, r"`Run.batch.epoch` must be whole numbers"),
        ([0, 1, 2], 0, r"`Run.batch.ids` must have one id for each of the 2 rows.*got shapes \(3,\) and \(\)"),
        ([0, 1], [0, 1, 2], r"epoch be one number or as many; got shapes \(2,\) and \(3,\)"),
    ],
)
def test_other_ids_and_epochs_are_refused(ids: object, epoch: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        visits_of(ids, epoch, 2)
