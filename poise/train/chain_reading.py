"""Reading a chain: the places of values and parameters, and the features of the input that a chain begins with."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from poise.core.links import Columns, Embedded, Feature, Features, Levels, Periodic, Piecewise
from poise.kernels.chain import KINDS, Layer, kept_of_embedding
from poise.train.chain_plan import ChainPlan, Value

__all__ = ["Reading", "UnknownError", "join"]

_LEARNED = (Levels, Periodic, Embedded)
"""Features that have parameters."""


class UnknownError(Exception):
    """Something in the network has no kernel."""


class Reading:
    """A chain that is being read: its layers so far, and the value that the next one takes.

    `places`: where each trained parameter begins in a member's row of parameters, and its shape.
    """

    def __init__(self, module: nn.Module, places: Mapping[str, Any], rows: int, columns: int) -> None:
        self.module = module
        self.places = dict(places)
        self.plan = ChainPlan(rows, columns)
        self.value = Value(-1, columns, columns)
        # Gradients live from one product to the next only: two places take turns.
        sides = [side for one in module.modules() if isinstance(one, nn.Linear) for side in one.weight.shape]
        self.widest = max(sides, default=0)
        self.grads = (self.plan.reserve(rows * self.widest), self.plan.reserve(rows * self.widest))

    def features(self, path: str, link: Features) -> None:
        """Read features of the input, side by side."""
        widths = [self.width_of(path, part) for part in link.parts]
        total = sum(widths)
        if total > self.widest:
            raise UnknownError
        own = [start for start, part in zip(accumulate(widths, initial=0), link.parts, strict=False)
               if isinstance(part, _LEARNED)]  # fmt: skip
        learned = own[0] if own else 0
        whole, grad = self.plan.reserve(self.plan.rows * total), self.next_grad() if own else -1
        start = 0
        for part, width in zip(link.parts, widths, strict=True):
            target = Value(whole + start, total, width, grad + start if own else -1)
            if isinstance(part, Levels):
                place, shape = self.places.pop(join(path, part.parameter))
                source = Value(-1 - part.first, self.plan.columns, shape[0])
                self.layer("levels", source=source, target=target, inputs=shape[0], outputs=width, weight=place)
            else:
                self._feature(path, part, target)
            start += width
        self.value = Value(whole, total, total, grad, learned)

    def _feature(self, path: str, part: Columns | Piecewise | Embedded | Periodic, target: Value) -> None:
        """Read features of single columns."""
        columns, rest, buffers = torch.tensor(part.columns), {}, {}
        self.plan.constants.append(columns)
        kind, count = "columns", len(part.columns)
        if isinstance(part, (Piecewise, Embedded)):
            kind, buffers = "piecewise", {"low": join(path, part.low), "slope": join(path, part.slope)}
        if isinstance(part, Embedded):
            kind, bins, size = "embedded", self.bins_of(path, part), target.width // count - 1
            rest = {"weight": self.parameter(join(path, part.weight), (count, 1 + bins, size)),
                    "bias": self.parameter(join(path, part.bias), (count, size)), "detail": bins,
                    "kept": self.plan.reserve(kept_of_embedding(self.plan.rows, count, bins, size))}  # fmt: skip
        elif isinstance(part, Periodic):
            kind, shape = "periodic", (count, target.width // count - 1)
            rest = {"weight": self.parameter(join(path, part.frequency), shape),
                    "bias": self.parameter(join(path, part.phase), shape),
                    "kept": self.plan.reserve(self.plan.rows * shape[0] * shape[1])}  # fmt: skip
        self.layer(kind, buffers, source=self.value, target=target, inputs=count, outputs=target.width,
                    columns=columns.data_ptr(), **rest)  # fmt: skip

    def width_of(self, path: str, part: Feature) -> int:
        """Return how many values a row has of a feature."""
        if isinstance(part, _LEARNED):
            name = join(path, part.parameter if isinstance(part, Levels) else
                         part.frequency if isinstance(part, Periodic) else part.bias)  # fmt: skip
            if name not in self.places:
                raise UnknownError
            size = int(self.places[name][1][1])
            return size if isinstance(part, Levels) else len(part.columns) * (1 + size)
        if isinstance(part, Piecewise):
            return len(part.columns) * (1 + self.bins_of(path, part))
        return len(part.columns)

    def bins_of(self, path: str, part: Piecewise | Embedded) -> int:
        """Return the bins of a column."""
        return int(self.module.get_buffer(join(path, part.low)).shape[1])

    def parameter(self, name: str, shape: tuple[int, ...]) -> int:
        """Return where a parameter begins. A frozen one is not there, nor one that another layer had already."""
        place, found = self.places.pop(name, (-1, torch.Size()))
        if tuple(found) != shape:
            raise UnknownError
        return int(place)

    def layer(
        self, kind: str, buffers: dict[str, str] | None = None, *, source: Value, target: Value, **rest: Any
    ) -> None:
        """Add a layer; `buffers` are those that it reads."""
        layer = Layer(
            kind=KINDS[kind], source=source.place, source_stride=source.stride, target=target.place,
            target_stride=target.stride, source_grad=source.grad, target_grad=target.grad,
            **({"weight": -1, "bias": -1, "scaled": -1} | rest),
        )  # fmt: skip
        self.plan.layers.append(layer)
        self.plan.buffers.append(buffers or {})

    def next_grad(self) -> int:
        """Return the place of gradients that the last product does not read."""
        return self.grads[1] if self.value.grad == self.grads[0] else self.grads[0]


def join(path: str, name: str) -> str:
    """Return the name of something in the module at a path."""
    return f"{path}.{name}" if path else name
