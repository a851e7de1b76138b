"""A DataLoader that can be saved in the middle of an epoch: the same order of rows goes on where it was cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from poise.core.errors import ArgumentError, CheckpointError

__all__ = ["ResumableLoader"]


class ResumableLoader(DataLoader[Any]):
    """torch's DataLoader with `state_dict` and `load_state_dict`, for data sets with a length.

    The order is drawn from torch's global generator, as a DataLoader's is. The state holds that generator as it was at
    the start of the epoch, and how many batches were handed out since. The first epoch after loading draws that order
    again and passes over those batches; it leaves the global generator to whoever restores it.

    Raises: ArgumentError for a generator of its own, whose state nobody would save, or data without a length.

    >>> loader = ResumableLoader(range(6), batch_size=2, shuffle=True)
    >>> batches = iter(loader)
    >>> first, state = next(batches), loader.state_dict()
    >>> rest = [batch.tolist() for batch in batches]
    >>> loader.load_state_dict(state)
    >>> rest == [batch.tolist() for batch in loader]
    True
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.generator is not None or getattr(self.sampler, "generator", None) is not None:
            raise ArgumentError(
                "`ResumableLoader.generator` must be left out; got one. The order comes from torch's global generator, "
                "whose state a checkpoint holds: call torch.manual_seed at the start."
            )
        if not hasattr(self.dataset, "__len__"):
            raise ArgumentError("`ResumableLoader.dataset` must have a length; got one that is only iterable.")
        self._epoch: Tensor | None = None  # the generator's state at the start of the epoch
        self._count = 0  # batches handed out since
        self._skip = 0  # batches to pass over, after loading

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # all that users of a DataLoader rely on
        # A generator, so that nothing is drawn before the first batch is asked for: trainers make their iterator
        # early, a resumed one before it has put the global generator back.
        skip, self._skip = self._skip, 0
        if self._epoch is not None and 0 < skip < len(self):
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(self._epoch)
                batches = super().__iter__()
                for _ in range(skip):
                    next(batches)
        else:
            self._epoch, self._count = torch.get_rng_state(), 0
            batches = super().__iter__()
        for batch in batches:
            self._count += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return where the present epoch stands."""
        return {"epoch": self._epoch, "count": self._count, "length": len(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()` at the next `iter`. Raises CheckpointError if it is another data set's."""
        if state["length"] != len(self):
            raise CheckpointError(
                f"`ResumableLoader` must have as many batches as the one that was saved, {state['length']}; got "
                f"{len(self)}."
            )
        self._epoch, self._count, self._skip = state["epoch"], state["count"], state["count"]
