"""Hierarchical lasso: an input enters a network only as far as it enters a linear model beside the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.errors import ArgumentError
from poise.core.kinds import Inserted, Insertion, summed
from poise.core.placed import placed
from poise.core.regularizer import Memory
from poise.core.select import output_path, roles_of
from poise.core.units import transposed_groups, units_first
from poise.update.group_lasso import columns_last, group_sums, groups_of
from poise.update.hierarchical_threshold import hierarchical_threshold

__all__ = ["HierarchicalLasso", "SkipLayer"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class SkipLayer(Inserted):
    """A linear map from what the input layer reads to the network's outputs; zero at first, learned.

    Shapes: (..., features) -> (..., outputs); of a convolution's input (B, channels, ...), each channel's mean.
    """

    weight: Tensor  # the strength: the skip is there only while the part is not neutral

    def __init__(self, part: HierarchicalLasso, host: nn.Module, outputs: int) -> None:
        super().__init__(part)
        owner: Tensor = host.weight  # type: ignore[assignment]  # `find` has checked the host
        self.means = owner.dim() - 2
        self.skip = nn.Parameter(torch.zeros(outputs, owner.shape[1], dtype=owner.dtype, device=owner.device))
        self.seen: Tensor | None = None  # what the input layer read in this forward pass

    def forward(self, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor):
            raise ArgumentError(
                f"`HierarchicalLasso` must meet a network that returns one tensor; got {type(output).__name__}. "
                "Wrap the network so that it returns the outputs alone."
            )
        seen, self.seen = self.seen, None
        if seen is None:
            return output
        features = seen.flatten(-self.means).mean(-1) if self.means else seen
        added = F.linear(features.to(self.skip.dtype), self.skip)
        while added.dim() > max(2, output.dim()):
            added = added.mean(1)  # of a sequence that is read into one answer
        if added.shape != output.shape and added.shape[:-1] == output.shape and added.shape[-1] == 1:
            added = added.squeeze(-1)
        if added.shape != output.shape:
            raise ArgumentError(
                f"`HierarchicalLasso` must meet outputs of shape {tuple(added.shape)}, one number for each unit of the "
                f"last layer; got {tuple(output.shape)}. Select inputs with GroupLasso in this network."
            )
        return output + torch.where(self.weight > 0, added, torch.zeros_like(added)).to(output.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"seen": None}  # it has a graph: it can neither be copied nor saved


def _look(child: str, host: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Forward pre-hook of the input layer."""
    layer = host._modules[child]
    assert isinstance(layer, SkipLayer)
    if not layer.idle:
        layer.seen = inputs[0]


def _add(child: str, path: str, root: nn.Module, _: Any, output: Any) -> Any:
    """Forward hook of the network."""
    layer = root.get_submodule(path)._modules[child]
    assert isinstance(layer, SkipLayer)
    return output if layer.idle else layer(output)


@dataclass(frozen=True)
class HierarchicalLasso(Insertion):
    """Adds a linear skip from the inputs to the outputs, and lets no input's weights exceed its skip weight's bound.

    The penalty is weight * sum over groups of sqrt(c) |theta_g|, theta_g the skip weights of a group of c inputs, under
    |W_ij| <= hierarchy |theta_g| for the first layer's weights W of input j. It acts after the optimizer's step by its
    exact proximal operator in the optimizer's metric: an input whose skip weights reach zero leaves the network, all
    its weights exactly zero together. Groups are GroupLasso's. Use it to select inputs of a network; at hierarchy 0 the
    linear model remains, and large values bring the skip's part to nothing. It costs about 50 passes over the first
    layer's weights. The first layer must be linear or a convolution (its channels are the inputs, the skip reads their
    means); the skip is zero at first, and reads what the first layer reads.

    Neutral: weight = 0, no skip and no bound; hierarchy then has no effect and stands at its default.
    Shapes: parameters keep shape and dtype; the skip is (outputs, inputs); the reported term is 0-d.
    Units: weight: objective per skip weight; hierarchy: the largest first-layer weight per unit of skip weight.
    Raises: ArgumentError if a dial is not a finite number >= 0, if the network returns no tensor (..., outputs), or if
    the optimizer holds one of the two layers without the other.
    Source: Lemhadri, Ruan, Abraham and Tibshirani 2021, "LassoNet: a neural network with feature sparsity", whose
    HIER-PROX is the case of one step for all coordinates.

    >>> network = HierarchicalLasso(weight=0.5, hierarchy=1.0).network(nn.Sequential(nn.Linear(1, 1, bias=False)))
    >>> [name for name, _ in network.named_parameters()]
    ['0.weight', '0.poise_hierarchical_lasso.skip']
    >>> theta, W, step = torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[1.0]])
    >>> hierarchical_threshold(theta, W, step, step, torch.tensor(0.5), 1.0)
    (tensor([[1.2500]]), tensor([[1.2500]]))
    """

    formula: ClassVar[str] = "weight * sum_g sqrt(c_g) |theta_g| subject to |W_ij| <= hierarchy |theta_g|, theta a skip"
    cost: ClassVar[str] = "about 50 passes over the first layer's weights"
    sites: ClassVar[str] = "the first layer and a skip from it to the outputs"
    needs: ClassVar[tuple[str, ...]] = ("scale",)
    expansive: ClassVar[str] = "the weights that the bound allows are no convex set"

    weight: DialValue = dial(1e-3, neutral=0.0, low=0.0, log=True, search=(1e-5, 1e-1))
    hierarchy: DialValue = dial(10.0, neutral=10.0, low=0.0, log=True, search=(1.0, 100.0))

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        paths = [name.rpartition(".")[0] for name, role in roles_of(module).items() if role.inputs]
        hosts = [(path, module.get_submodule(path)) for path in paths]
        return [(path, host) for path, host in hosts if _reads_columns(host)][:1]

    def layer(self, host: nn.Module) -> Inserted:
        """Return a skip for a network that is this host alone; `network` knows the outputs of a deeper one."""
        return SkipLayer(self, host, len(host.weight))  # type: ignore[arg-type]  # `find` has checked it

    def insert(self, host: nn.Module, layer: Inserted) -> None:
        host.register_forward_pre_hook(partial(_look, f"poise_{self.name}"))

    def network(self, module: nn.Module) -> nn.Module:
        last = output_path(module)
        owner = nn.Module() if last is None else module.get_submodule(last)
        weights = [weight for weight in owner.parameters(recurse=False) if weight.dim() > 1]
        outputs = next((len(units_first(weight, transposed_groups(owner, weight))) for weight in weights), 0)
        sites = self.find(module)
        module = super().network(module)
        for path, host in sites:
            own = host._modules[f"poise_{self.name}"]
            assert isinstance(own, SkipLayer)
            own.skip = nn.Parameter(own.skip.new_zeros(outputs, own.skip.shape[1]))
            module.register_forward_hook(partial(_add, f"poise_{self.name}", path))
        return module

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        found = []
        for weight, skip in self._pairs(ctx):
            theta = ctx.params[skip].detach()
            theta = theta.to(torch.promote_types(theta.dtype, torch.float32))
            add, _ = group_sums(theta, groups_of(weight, theta, ctx))
            columns = add(torch.ones_like(theta[:1]))
            # Each column bears its share of the group's term, so that columns can be summed without listing groups.
            found.append((columns.sqrt() * add(theta.square()).sqrt() / columns).sum())
        total = summed(found)
        return terms | {self.name: like(self.weight, total) * total}, memory

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        changed = {}
        for name, skip in self._pairs(ctx):
            weight, theta = params[name], params[skip]
            # Where steps differ by orders of magnitude, float32 would lose the answer in the differences that it takes.
            wide = torch.float32 if weight.device.type == "mps" else torch.float64
            matrix = columns_last(weight).to(wide)
            changed[skip], new = hierarchical_threshold(
                theta.to(wide),
                matrix,
                ctx.scale[skip].expand_as(theta).to(wide),
                columns_last(ctx.scale[name].expand_as(weight)).to(wide),
                placed(like(self.weight, matrix), matrix, wide),
                like(self.hierarchy, matrix),
                groups_of(name, matrix, ctx),
            )
            changed[name] = new.reshape(weight.movedim(1, -1).shape).movedim(-1, 1)
        return params | {name: value.to(params[name].dtype) for name, value in changed.items()}, memory

    def _pairs(self, ctx: Context) -> list[tuple[str, str]]:
        """Return the names of the first layer's weight and of the skip, one pair for each input layer."""
        skips = [name for name in ctx.roles if f".{name}".endswith(f".poise_{self.name}.skip")]
        pairs = []
        for skip in skips:
            owner = skip.removesuffix(f"poise_{self.name}.skip")
            weight = f"{owner}weight"
            if weight not in ctx.roles:
                raise ArgumentError(
                    f"`HierarchicalLasso` must find {weight} in the optimizer, as it does {skip}; got none, or one "
                    "without a gradient. Give the optimizer all of run.model.parameters()."
                )
            pairs.append((weight, skip))
        return pairs


def _reads_columns(host: nn.Module) -> bool:
    return isinstance(host, nn.Linear) or (isinstance(host, _CONVOLUTIONS) and host.groups == 1)
