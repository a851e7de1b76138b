"""A loader that is saved anywhere in an epoch goes on with the rows that would have come."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from poise import ArgumentError, CheckpointError
from poise.train.loader import ResumableLoader

pytestmark = pytest.mark.usefixtures("seeded")


class Noisy(Dataset[Any]):
    """Rows that draw from the global generator when they are read, as augmentations do."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, row: int) -> Any:
        return row, torch.rand(())


def read(batches: Any, draws: int = 0) -> list[Any]:
    """Batches as plain numbers; a training step between two of them draws as well."""
    found = []
    for rows, noise in batches:
        found.append((rows.tolist(), noise.tolist()))
        torch.rand(draws)
    return found


def test_it_hands_out_what_a_data_loader_does() -> None:
    theirs, ours = [], []
    for found, kind in ((theirs, DataLoader), (ours, ResumableLoader)):
        torch.manual_seed(0)
        loader = kind(Noisy(), batch_size=3, shuffle=True)
        found += read(loader, 2) + read(loader, 2)
    assert ours == theirs


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cut", range(1, 8))
def test_cut_after_any_batch_it_goes_on_as_if_it_had_not_been(cut: int, workers: int) -> None:
    def loader() -> ResumableLoader:
        return ResumableLoader(Noisy(), batch_size=3, shuffle=True, num_workers=workers)

    torch.manual_seed(3)
    whole, after, found = loader(), None, []
    for _epoch in range(2):
        for rows, noise in whole:
            found.append((rows.tolist(), noise.tolist()))
            torch.rand(5)
            if len(found) == cut:
                after = whole.state_dict(), torch.get_rng_state()
    assert after is not None
    torch.manual_seed(99)
    again = loader()
    again.load_state_dict(after[0])
    begun = iter(again)  # before the generator is put back, as trainers do
    torch.set_rng_state(after[1])
    rest = read(begun, 5)
    if len(rest) + cut < len(found):
        rest += read(again, 5)
    assert rest == found[cut:]


def test_without_the_state_other_rows_come() -> None:
    """The wrong loader that the test above must catch."""
    torch.manual_seed(3)
    whole = ResumableLoader(Noisy(), batch_size=3, shuffle=True)
    first = iter(whole)
    next(first)
    state = torch.get_rng_state()
    rest = read(first)
    torch.set_rng_state(state)
    assert read(ResumableLoader(Noisy(), batch_size=3, shuffle=True))[:3] != rest


def test_another_data_set_is_refused() -> None:
    state = ResumableLoader(Noisy(), batch_size=3).state_dict()
    with pytest.raises(CheckpointError, match="as many batches as the one that was saved, 4; got 5"):
        ResumableLoader(Noisy(), batch_size=2).load_state_dict(state)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from range(3)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (Noisy(), {"shuffle": True, "generator": torch.Generator()}, "generator` must be left out"),
        (Stream(), {}, "must have a length"),
    ],
)
def test_what_nobody_would_save_is_refused(data: Any, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ResumableLoader(data, **options)
