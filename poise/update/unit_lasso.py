"""Unit lasso: whole hidden units and channels become exactly zero, and can be cut away after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import summed
from poise.core.placed import placed
from poise.core.regularizer import Memory, Regularizer
from poise.core.select import check_selection, output_layer, select
from poise.core.units import units_first
from poise.update.group_lasso import block_threshold

__all__ = ["UnitLasso"]


@dataclass(frozen=True)
class UnitLasso(Regularizer):
    """Thresholds the weights into each hidden unit together with its bias, so that unneeded units leave the network.

    The penalty is weight * sum over units of sqrt(n) |w_u|, |w_u| the Euclidean norm of the unit's n numbers: a row of
    (out, in) or a filter of a convolution (out, in, ...), and its bias; of a transposed convolution (in, out, ...), a
    slice of its dimension 1; of an embedding, one entry's vector. It acts after the optimizer's step by its exact
    proximal operator in the optimizer's metric, as GroupLasso does. The last layer in module order is left alone, as
    are layers with several weights (recurrent ones: a row is a gate there, no unit), vectors without a weight beside
    them (slopes of PReLU) and 0-d parameters. Use it to find a network's width, then `poise.prune_units`; it costs
    about 10 passes over the weights.

    Neutral: weight = 0.
    Shapes: parameters keep shape and dtype; the reported term is 0-d.
    Units: objective per weight, times the square root of the unit's size.
    Raises: ArgumentError if weight is not a finite number >= 0, or `where` is no selection.
    Source: Alvarez and Salzmann 2016, "Learning the number of neurons in deep networks" (the groups); Scardapane,
    Comminiello, Hussain and Uncini 2017, "Group sparse regularization for deep neural networks", whose groups are a
    unit's outgoing weights instead; Yuan and Lin 2006 (the penalty).

    >>> from poise.core.select import Role
    >>> params = {"0.weight": torch.tensor([[3.0], [0.3]]), "0.bias": torch.tensor([4.0, 0.4])}
    >>> params["1.weight"] = torch.ones(1, 2)
    >>> roles = {name: Role("bias" if name.endswith("bias") else "weight") for name in params}
    >>> step = {name: torch.full_like(value, 2.0 ** 0.5) for name, value in params.items()}
    >>> ctx = Context(0, rng=None, roles=roles, scale=step)
    >>> new, _ = UnitLasso(weight=1.0).update(params, {}, ctx)
    >>> new["0.weight"].round(decimals=4), new["0.bias"].round(decimals=4)
    (tensor([[1.8000],
            [0.0000]]), tensor([2.4000, 0.0000]))
    """

    formula: ClassVar[str] = "weight * sum_u sqrt(n_u) |w_u|, by its proximal operator in the optimizer's metric"
    cost: ClassVar[str] = "about 10 passes over the selected weights"
    needs: ClassVar[tuple[str, ...]] = ("scale",)

    weight: DialValue = dial(1e-3, neutral=0.0, low=0.0, log=True, search=(1e-6, 1e-1))
    where: str | tuple[str, ...] = field(default=("weights", "biases"), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selection(type(self).__name__, self.where)

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        layers = self._layers(ctx.params, ctx)
        matrices = [_joined([_rows(ctx.params[name].detach(), name, ctx) for name in names]) for names in layers]
        total = summed([(len(m) ** 0.5 * torch.linalg.vector_norm(m, dim=0)).sum() for m in matrices])
        return terms | {self.name: like(self.weight, total) * total}, memory

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        changed = {}
        for names in self._layers(params, ctx):
            rows = [_rows(params[name], name, ctx) for name in names]
            matrix = _joined(rows)
            steps = [_rows(ctx.scale[name].expand_as(params[name]), name, ctx) for name in names]
            strength = placed(like(self.weight, matrix), matrix, matrix.dtype)
            new = block_threshold(matrix, _joined(steps).to(matrix), strength).T
            sizes = [own[0].numel() for own in rows]
            for name, old, own in zip(names, rows, new.split(sizes, dim=1), strict=True):
                changed[name] = _rows(own.reshape(old.shape), name, ctx).to(old.dtype)  # turned back
        return params | changed, memory

    def _layers(self, params: Mapping[str, Tensor], ctx: Context) -> list[list[str]]:
        """Return the selected parameters layer by layer, those that hold one row for each unit together."""
        ends = output_layer(ctx.roles)
        # A vector whose module has no weight is no unit's bias: a PReLU's slopes, or beside a parametrized weight.
        known = {name.rpartition(".")[0] for name, role in ctx.roles.items() if role.kind != "bias"}
        owners: dict[str, list[str]] = {}
        for name in select(ctx.roles, self.where):
            owner = name.rpartition(".")[0]
            if name not in ends and owner in known and params[name].dim() > 0:
                owners.setdefault(owner, []).append(name)
        weights = [name.rpartition(".")[0] for name, role in ctx.roles.items() if role.kind == "weight"]
        layers = []
        for owner, names in owners.items():
            units = {_rows(params[name], name, ctx).shape[:1] for name in names}
            if weights.count(owner) > 1 or any(params[name].numel() == 0 for name in names):
                continue
            layers += [names] if len(units) == 1 else [[name] for name in names]
        return layers


def _rows(value: Tensor, name: str, ctx: Context) -> Tensor:
    """Return the parameter with one row for each unit; twice, it is the parameter again."""
    return units_first(value, ctx.roles[name].transposed)


def _joined(values: list[Tensor]) -> Tensor:
    """Return (numbers of a unit, units): every parameter's rows, one below the other."""
    wide = torch.promote_types(values[0].dtype, torch.float32)
    return torch.cat([value.reshape(value.shape[0], -1).to(wide) for value in values], dim=1).T
