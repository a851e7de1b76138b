"""L2-SP: weights are pulled to where they started, as suits fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import summed
from poise.core.means import wide
from poise.core.regularizer import Memory, Regularizer
from poise.core.select import check_selection, output_layer, select

__all__ = ["PullToStart"]


@dataclass(frozen=True)
class PullToStart(Regularizer):
    """Adds weight/2 times the squared distance of the selected weights from their values before training.

    weight/2 sum (w - w_start)^2 + head/2 sum w_head^2. Use it to fine-tune a pretrained network on little data: decay
    would pull towards 0 what was learned. With `new_head` the last layer with a weight is taken for the new output
    layer, whose start means nothing: it is not pulled to the start, and `head` shrinks its weights towards 0. With
    new_head=False every selected weight is pulled and `head` does nothing. Costs two passes over the weights and a
    copy of all of them.

    Neutral: weight = 0 and head = 0.
    Shapes: the term is 0-d, float32 at least; the memory holds each parameter under "start/<name>".
    Units: objective per squared weight, with the half.
    Raises: ArgumentError if weight or head is not a finite number >= 0, or `where` is no selection.
    Source: Li, Grandvalet and Davoine 2018, "Explicit inductive bias for transfer learning with convolutional
        networks", L2-SP: alpha/2 |w_S - w_S^0|^2 + beta/2 |w_S'|^2, alpha = weight, beta = head.

    >>> import torch
    >>> from poise.core.select import Role
    >>> roles, w = {"a": Role("weight"), "head.weight": Role("weight")}, torch.tensor([[3.0]])
    >>> part, ctx = PullToStart(0.5, head=0.1), Context(0, rng=None, params={"a": w, "head.weight": w}, roles=roles)
    >>> terms, _ = part.objective({}, part.remember({"a": w - 2, "head.weight": w}), ctx)
    >>> round(float(terms["pull_to_start"]), 4)
    1.45
    """

    formula: ClassVar[str] = "weight/2 * sum (w - w_start)^2 + head/2 * sum w_head^2, added to the objective"
    cost: ClassVar[str] = "two passes over the weights, one copy of them in memory"

    weight: DialValue = dial(0.1, neutral=0.0, low=0.0, log=True, search=(1e-4, 1.0))
    head: DialValue = dial(0.01, neutral=0.0, low=0.0, log=True, search=(1e-5, 1e-1))
    where: str | tuple[str, ...] = "weights"
    new_head: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selection(type(self).__name__, self.where)

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        return {f"start/{name}": w.detach().clone() for name, w in params.items()}

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        chosen = select(ctx.roles, self.where)
        new = output_layer(ctx.roles) if self.new_head else ()
        pulled = _energy(wide(ctx.params[n]) - wide(memory[f"start/{n}"]) for n in chosen if n not in new)
        shrunk = _energy(wide(ctx.params[n]) for n in chosen if n in new)
        return terms | {self.name: like(self.weight, pulled) * pulled + like(self.head, shrunk) * shrunk}, memory


def _energy(values: Iterable[Tensor]) -> Tensor:
    return 0.5 * summed([v.square().sum() for v in values])  # half, so that the gradient is exactly weight * distance
