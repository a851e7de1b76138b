"""Soft sharing: the corresponding weights of several networks pulled together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.errors import ArgumentError, shown
from poise.core.kinds import Penalty, summed
from poise.core.regularizer import Memory

__all__ = ["SoftSharing"]


@dataclass(frozen=True)
class SoftSharing(Penalty):
    """Adds weight/2 times the squared distance between the corresponding weights of twin modules.

    weight/2 sum over pairs of twins |w_i - w_j|^2, with the half, so that the gradient of a weight is weight times its
    difference. Each task keeps a network of its own, and the networks stay near one another: the softer form of a
    shared trunk (large weight: one trunk, 0: independent networks). `modules` are the paths of two or more modules of
    one structure, whose parameters correspond by name. Costs one pass over the weights for each pair.

    Neutral: weight = 0.
    Shapes: the term is 0-d, float32 at least; gradients keep the parameters' dtype.
    Units: objective per squared weight, as of `L2`.
    Raises: ArgumentError if weight is not a finite number >= 0, or the modules are not two or more distinct paths whose
        trainable parameters correspond in name and shape.
    Source: Duong, Cohn, Bird and Cook 2015, "Low resource dependency parsing: cross-lingual parameter sharing in a
        neural network parser".

    >>> import torch
    >>> weights = {"first.weight": torch.tensor([[1.0, 4.0]]), "second.weight": torch.tensor([[1.0, 1.0]])}
    >>> float(SoftSharing(2.0, modules=("first", "second")).penalty(weights, Context(0, rng=None)))
    9.0
    """

    formula: ClassVar[str] = "weight/2 * sum |w_i - w_j|^2 over twin modules, added to the objective"
    cost: ClassVar[str] = "one pass over the twins' weights for each pair"

    weight: DialValue = dial(1e-2, neutral=0.0, low=0.0, log=True, search=(1e-5, 10.0))
    modules: tuple[str, ...] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.modules
        paths = isinstance(given, tuple) and all(isinstance(path, str) and path for path in given)
        if not paths or len(set(given)) < max(2, len(given)):
            raise ArgumentError(
                f"`SoftSharing.modules` must be two or more distinct paths of modules; got {shown(given)}. "
                'Write modules=("trunks.age", "trunks.income").'
            )

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        forms = {path: {n: p.shape for n, p in _below(path, params).items()} for path in self.modules}
        first = forms[self.modules[0]]
        for path, form in forms.items():
            if form != first or not form:
                raise ArgumentError(
                    f"`SoftSharing.modules` must be modules of equal trainable parameters; got {shown(path)} with "
                    f"{shown({name: tuple(shape) for name, shape in form.items()})}. "
                    f"{self.modules[0]!r} has {shown({name: tuple(shape) for name, shape in first.items()})}."
                )
        return {}

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        twins = [_below(path, params) for path in self.modules]
        if any(twin.keys() != twins[0].keys() for twin in twins):
            raise ArgumentError(
                f"`SoftSharing.where` must select the same parameters in each module; got {shown(self.where)}. "
                "The input layer is one for the whole network: select by weights, biases, norms, embeddings or all."
            )
        squares = []
        for one, other in combinations(twins, 2):
            for name, weight in one.items():
                gap = weight - other[name]
                # Widened before squaring: 300^2 is already infinite in fp16.
                squares.append((gap if gap.dtype.itemsize > 2 else gap.float()).square().sum())
        total = 0.5 * summed(squares)  # half, so that the gradient is exactly weight times the difference
        return like(self.weight, total) * total


def _below(path: str, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters below a module's path, by their names within it."""
    return {name.removeprefix(f"{path}."): p for name, p in params.items() if name.startswith(f"{path}.")}
