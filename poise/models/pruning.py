"""Cut units that are always the same, or that nothing reads, out of a network: it answers as before and is smaller."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.kinds import inserted_layers
from poise.models.units import PRUNED, Space, as_held, constants, spaces_of, weight_of
from poise.network.batch_norm import BatchNormLayer
from poise.network.remove import remove

__all__ = ["PruningReport", "prune_units"]


@dataclass(frozen=True)
class PruningReport:
    """What was cut: numbers of parameters, (units before, after) of each layer that lost some, and what was kept.

    `kept` says of each layer that still has dead units why they could not be cut.
    """

    before: int
    after: int
    widths: dict[str, tuple[int, int]]
    kept: dict[str, str]

    def __str__(self) -> str:
        share = self.after / max(1, self.before)
        lines = [f"{self.before:,} parameters before, {self.after:,} after ({share:.0%})"]
        lines += [f"  {path}: {old} units, {new} left" for path, (old, new) in self.widths.items()]
        lines += [f"  {path}: kept, {reason}" for path, reason in self.kept.items()]
        return "\n".join(lines)


def prune_units(model: nn.Module, example_inputs: Any) -> tuple[nn.Module, PruningReport]:
    """Return a smaller copy of a trained network with the same outputs in evaluation mode, and what was cut.

    A unit (a row of a linear layer, an output channel of a convolution) is cut if all weights into it are zero, so that
    it is constant, or all weights out of it are. Its constant goes into the next layer's bias. `UnitLasso` makes such
    units. The data flow is read by torch.fx: linear layers, 1-d and 2-d convolutions (transposed ones too), batch
    norms, activations, dropout, pooling, flattening. Where a layer's units meet anything else (a residual sum, a
    concatenation, the output), all are kept, and listed. Layers that a recipe inserted are taken away; its batch
    norms go into the layer before them.

    The copy is of the model's own class, trains on, and saves; its layers have fewer rows. One unit at least is left.
    `example_inputs` (a tensor, or a tuple of positional arguments) are looked at for their shapes.

    Raises: ArgumentError if torch.fx cannot trace the model, or an inserted layer changes what it predicts.

    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> with torch.no_grad():
    ...     _ = net[0].weight[2:].zero_()
    >>> small, report = prune_units(net, torch.zeros(1, 3))
    >>> print(report)
    41 parameters before, 11 after (27%)
      0: 8 units, 2 left
    """
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    small = _plain_copy(model, inputs)
    count = sum(p.numel() for p in small.parameters())
    first = {path: _units(layer) for path, layer in small.named_modules() if isinstance(layer, PRUNED)}
    kept: dict[str, str] = {}
    cut = True
    while cut:  # a unit that read only constants is one itself after the cut
        cut, kept = False, {}
        for space in spaces_of(small, inputs):
            dead = _dead(space)
            if not bool(dead.any()) or _units(space.layer) == 1:
                continue
            if not space.blocked and _cut(space, dead):
                cut = True
                break  # widths have changed: the data flow is read anew
            reason = space.blocked or "a padded or transposed convolution would miss their constants"
            kept[space.path] = f"{int(dead.sum())} dead units: {reason}"
    now = {path: _units(layer) for path, layer in small.named_modules() if isinstance(layer, PRUNED)}
    widths = {path: (old, now[path]) for path, old in first.items() if now[path] != old}
    _compare(model, small, inputs, "the smaller network")
    return small, PruningReport(count, sum(p.numel() for p in small.parameters()), widths, kept)


def _units(layer: nn.Module) -> int:
    return len(weight_of(layer))


def _plain_copy(model: nn.Module, inputs: tuple[Any, ...]) -> nn.Module:
    """Return a copy in evaluation mode without inserted layers, their batch norms folded into their hosts."""
    small = copy.deepcopy(model).eval()
    inserted = list(inserted_layers(small))
    for path, layer in inserted:
        if isinstance(layer, BatchNormLayer) and not layer.idle:
            _fold(small.get_submodule(path.rpartition(".")[0]), layer)
    if inserted:
        remove(small)
        _compare(model, small, inputs, "the network without its inserted layers")
    return small


def _fold(host: nn.Module, layer: BatchNormLayer) -> None:
    """Write an inserted batch norm's map into the weight and bias of its host."""
    weight: Tensor = host.weight  # type: ignore[assignment]  # batch norms stand behind layers with weights
    wide = torch.float64 if weight.device.type != "mps" else torch.float32
    share, gain, offset = (t.detach().to(wide) for t in (layer.share, layer.weight, layer.bias))
    mean, var = layer.running_mean.to(wide), layer.running_var.to(wide)
    slope = share * gain / (var + layer.eps).sqrt()
    old = torch.zeros_like(mean) if host.bias is None else host.bias.detach().to(wide)  # type: ignore[operator]
    new = (slope + 1 - share) * old + share * offset - mean * slope
    rows = (slope + 1 - share).reshape(-1, *[1] * (weight.dim() - 1))
    host.weight = nn.Parameter((weight.detach().to(wide) * rows).to(weight.dtype), weight.requires_grad)
    host.bias = nn.Parameter(new.to(weight.dtype), weight.requires_grad)


def _dead(space: Space) -> Tensor:
    """Return (units,) whether each unit is constant, or read by nobody."""
    constant = ~weight_of(space.layer).flatten(1).any(1)
    if not space.readers:
        return constant
    read = torch.zeros_like(constant)
    for reader in space.readers:
        columns = weight_of(reader.layer).movedim(1, 0).flatten(1).any(1)
        read |= columns.reshape(len(read), reader.repeat).any(1)
    return constant | ~read


def _cut(space: Space, dead: Tensor) -> bool:
    """Cut the dead units out of their layer, the batch norms behind it and all its readers; False if none can go."""
    folded = []
    for reader in space.readers:
        value = constants(reader, dead)
        if value is None:
            return False  # at the border of an image the constant would be missed
        folded.append(value)
    keep = ~dead
    if not bool(keep.any()):
        keep[0] = True
    for reader, value in zip(space.readers, folded, strict=True):
        columns = keep.repeat_interleave(reader.repeat)
        layer, weight = reader.layer, weight_of(reader.layer)
        gone = weight.movedim(1, 0).flatten(1)[~columns].reshape(-1, len(weight), weight[0, 0].numel()).sum(2)
        shift = (value[~columns].double() @ gone.double()).to(weight.dtype)
        if layer.bias is not None or bool(shift.any()):
            old = torch.zeros_like(shift) if layer.bias is None else layer.bias.detach()  # type: ignore[operator]
            layer.bias = nn.Parameter(old + shift, layer.weight.requires_grad)  # type: ignore[arg-type]
        _resize(layer, "weight", as_held(layer, weight[:, columns]))
        setattr(layer, "in_features" if isinstance(layer, nn.Linear) else "in_channels", int(columns.sum()))
    _resize(space.layer, "weight", as_held(space.layer, weight_of(space.layer)[keep]))
    for module in (space.layer, *space.norms):
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensor = getattr(module, name, None)
            if tensor is not None and (module, name) != (space.layer, "weight"):
                _resize(module, name, tensor.detach()[keep])
        for name in ("out_features", "out_channels", "num_features"):
            if hasattr(module, name):
                setattr(module, name, int(keep.sum()))
    return True


def _resize(module: nn.Module, name: str, value: Tensor) -> None:
    old = getattr(module, name)
    setattr(module, name, nn.Parameter(value.clone(), old.requires_grad) if isinstance(old, nn.Parameter) else value)


def _compare(model: nn.Module, small: nn.Module, inputs: tuple[Any, ...], word: str) -> None:
    training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            before, after = model.eval()(*inputs), small(*inputs)
    finally:
        for module, mode in training.items():
            module.training = mode
    for one, two in zip(_leaves(before), _leaves(after), strict=True):
        bound = 1e3 * torch.finfo(one.dtype).eps * (1 + float(one.abs().max())) if one.numel() else 0.0
        if one.shape != two.shape or not torch.allclose(one, two, rtol=0, atol=bound, equal_nan=True):
            layers = sorted({layer.part for _, layer in inserted_layers(model)})
            raise ArgumentError(
                f"`prune_units.model` must answer as {word} does; got other outputs"
                f"{' with the layers of ' + ', '.join(layers) if layers else ''}. Pass a model without such layers."
            )


def _leaves(outputs: Any) -> list[Tensor]:
    from torch.utils import _pytree as pytree

    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
