"""Jobs member by member: orders against torch's sort, and threads that change nothing."""

import pytest
import torch

from poise.core.rng import keyed_words, stream
from poise.kernels import available
from poise.kernels.threads import in_threads
from poise.train.fast_order import orders_by_kernel

native_only = pytest.mark.skipif(not available(), reason="the native kernels are not in use")


@native_only
@pytest.mark.parametrize("count", [1, 2, 3, 4, 31, 128, 1000, 4097])
def test_orders_are_stable_sorts_of_the_keyed_words(count: int) -> None:
    keys = torch.tensor([[3, 0, 5], [3, 1, 5], [-7, 2, 0]])
    words = keyed_words(keys, stream("/order"), count)
    assert torch.equal(orders_by_kernel(keys, "/order", count), torch.argsort(words, dim=1, stable=True))


@native_only
def test_the_number_of_threads_changes_nothing() -> None:
    keys = torch.stack([torch.tensor([1, member, 0]) for member in range(37)])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = orders_by_kernel(keys, "a", 500)
        torch.set_num_threads(4)
        assert torch.equal(alone, orders_by_kernel(keys, "a", 500))
    finally:
        torch.set_num_threads(before)


def test_all_threads_are_waited_for_and_errors_come_back() -> None:
    calls: list[int] = []
    in_threads(lambda: calls.append(1), 5)
    assert len(calls) == 5

    def fails() -> None:
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        in_threads(fails, 2)
