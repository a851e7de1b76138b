"""Manifold mixup: rows mixed at a layer that is drawn anew each step, hidden activations and targets alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError
from poise.core.inserted import recomputing
from poise.core.kinds import Inserted, inserted_layers
from poise.core.mixing import blend, blend_labels, draw_partners
from poise.core.regularizer import Memory
from poise.core.rng import Rng
from poise.core.trees import leaves
from poise.network.attach import AtSites, child_name, into

__all__ = ["ManifoldMixup", "ManifoldMixupLayer"]


class ManifoldMixupLayer(Inserted):
    """Mixes the rows that pass it in the steps in which its site is drawn; does nothing in evaluation.

    It draws what the batch stage draws for the targets: the same generator, labels and number of rows. A second pass
    within a step (`ctx.forward`) mixes as the first did, whatever its draw, because the targets stay.
    """

    for_tokens: ClassVar[str] = "Token ids cannot be mixed: write ManifoldMixup(inputs=False)."
    alpha: Tensor
    share: Tensor

    def __init__(self, part: ManifoldMixup) -> None:
        super().__init__(part)
        self.majority = part.majority
        self.site, self.sites = 0, 1  # this one's number, and how many there are
        self.rows: int | None = None  # that entered the network in this pass; None if it is not known

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self._later_call():
            return x
        if self.rows not in (None, x.shape[0]):
            raise ArgumentError(
                f"`ManifoldMixup.where` must name sites with the batch's rows first; got {x.shape[0]} at {self.label}, "
                f"of a batch of {self.rows} rows. Choose another rule: targets would be mixed with other rows."
            )
        rng = Rng(self.key).fold(self.part)
        partner, taken = draw_partners(rng, x.shape[0], self.alpha, self.share, self.majority)
        active = (rng.uniform("site", (1,), torch.float64) * self.sites).floor() == self.site
        return blend(x, partner, torch.where(active, taken, 0.0))

    def _later_call(self) -> bool:
        """Whether the site was called before in this pass: mixed twice, rows would have another share than targets."""
        if recomputing():
            return self._repeated() > 0
        self.calls += 1
        return self.calls > 1


def _note_rows(child: str, root: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Forward pre-hook of the root: tell the part's layers how many rows enter."""
    found = [value for value in leaves(inputs) if isinstance(value, Tensor) and value.dim()]
    for _path, layer in inserted_layers(root):
        if isinstance(layer, ManifoldMixupLayer) and f"poise_{layer.part}" == child:
            layer.rows = found[0].shape[0] if found else None


@dataclass(frozen=True)
class ManifoldMixup(AtSites):
    """Replace rows by convex combinations of two rows at one random layer of the network, targets and weights alike.

    h' = lambda h_i + (1 - lambda) h_j, y' likewise, lambda ~ Beta(alpha, alpha) drawn for each row, j a random
    permutation of the batch; h is what passes the site of this step, each as likely: the model's input (unless `inputs`
    is False) or one of those that `where` finds. Flattens the representation of each class, and smooths decisions
    further from the data than mixup does; usual with a larger alpha. Costs one gather and one pass over the activations
    of each site. A site that is called several times in a pass mixes at its first call; `majority` is that of Mixup.

    Neutral: share = 0, or alpha = 0.
    Shapes: activations (B, ...), with the rows first at every site; targets (B, K), (B,) or (B, T), or a dict of these
        by task; weights (B,).
    Units: alpha is the shape of the beta law: small mixes little, 1 is uniform; share is a probability.
    Raises: ArgumentError if alpha < 0, share is outside [0, 1], `where` is no rule that fits, a site has other rows
        than the batch, what is mixed is not floating point (inputs=False leaves token ids alone), or the plain loop
        does not pass its rows through `run.batch`.
    Source: Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz and Bengio 2019, "Manifold mixup: better
        representations by interpolating hidden states", section 2, with one lambda for each row.

    >>> from poise.core.rng import key
    >>> part, rows = ManifoldMixup(inputs=False), torch.tensor([[0.0], [1.0], [5.0]])
    >>> model = part.network(nn.Sequential(nn.ReLU()))
    >>> mixed, _ = part.batch(Batch(rows, rows), {}, Context(0, Rng(key(0))).within(part.name))
    >>> bool(torch.equal(model(rows), mixed.targets)), bool(torch.equal(mixed.targets, rows))
    (True, False)
    """

    rank: ClassVar[int] = 40  # on the network: mixes what dropout and noise leave, as rows of a later layer would be
    formula: ClassVar[str] = (
        "h' = lambda h_i + (1 - lambda) h_j at a random site, y' likewise, lambda ~ Beta(alpha, alpha)"
    )
    cost: ClassVar[str] = "one gather and one pass over the activations of each site"
    places: ClassVar[tuple[str, ...]] = (
        "activations",
        "convolution activations",
        "hidden layers",
        "convolutions",
        "embeddings",
    )

    alpha: float = dial(2.0, neutral=0.0, low=0.0, log=True, unit="beta shape", search=(0.1, 4.0))
    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    inputs: bool = True
    majority: bool = False

    def touches(self) -> str:
        return ("the model's input, and " if self.inputs else "") + super().touches()

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        inner = [(path, host) for path, host in super().find(module) if path]  # the model's output is no hidden layer
        return [("", module), *inner] if self.inputs else inner

    def layer(self, host: nn.Module) -> Inserted:
        return ManifoldMixupLayer(self)

    def insert(self, host: nn.Module, layer: Inserted) -> None:
        if layer.label == f"{self.name}/":
            host.register_forward_pre_hook(partial(into, child_name(self)))
        else:
            super().insert(host, layer)

    def network(self, module: nn.Module) -> nn.Module:
        module.register_forward_pre_hook(partial(_note_rows, child_name(self)))
        module = super().network(module)
        own = [layer for _path, layer in inserted_layers(module) if layer.part == self.name]
        for number, layer in enumerate(own):
            assert isinstance(layer, ManifoldMixupLayer)
            layer.site, layer.sites = number, len(own)
        return module

    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        rows = next(iter(leaves(batch.targets))).shape[0]
        partner, taken = draw_partners(ctx.rng, rows, self.alpha, self.share, self.majority)
        return blend_labels(batch, partner, taken), memory

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        if ctx.batch is None:
            raise ArgumentError(
                "`ManifoldMixup` must mix the targets too; got a step without them. "
                "Pass every batch through the run: x, y = run.batch(x, y)."
            )
        return terms, memory
