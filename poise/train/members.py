"""The networks of a population: made one by one from seeds of their own, checked, and stacked."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.core.kinds import inserted_layers
from poise.core.recipe import Recipe
from poise.core.schedule import Schedule

__all__ = ["Networks", "build_members", "member_dials", "member_rates", "member_seed", "shared_recipe"]

Networks = tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]
"""The structure, what trains, and what does not. Shapes: every tensor has the member first."""


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member's initial weights."""
    digest = hashlib.blake2b(f"{seed}/{member}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def build_members(build: Callable[[], nn.Module], recipe: Recipe, seed: int, members: Sequence[int]) -> Networks:
    """Build one network a member; the initial weights depend on (seed, member) alone.

    Frozen parameters are stacked with the buffers: they differ by member, but nothing trains them.

    Raises: ArgumentError if nothing trains, or the networks differ in shape, their parameters in dtype.
    """
    networks = [_seeded(build, recipe, member_seed(seed, member)) for member in members]
    module = copy.deepcopy(networks[0])
    for layer in module.modules():
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
            layer.sparse = False  # the optimizer of a population takes dense gradients
    named = [dict(network.named_parameters()) for network in networks]
    if any([p.shape for p in own.values()] != [p.shape for p in named[0].values()] for own in named):
        raise ArgumentError("`Population.build` must return networks of one shape; got different ones. Build one kind.")
    trained = [name for name, parameter in named[0].items() if parameter.requires_grad]
    dtypes = {named[0][name].dtype for name in trained}
    if len(dtypes) != 1:
        raise ArgumentError(
            f"`Population.build` must return networks with trainable parameters of one dtype; got {shown(dtypes)}."
        )
    params = {name: torch.stack([own[name].detach() for own in named]) for name in trained}
    # An inserted layer's key and dials are put in anew before each step.
    passing = {
        f"{path}.{name}" for path, layer in inserted_layers(module) for name in layer._non_persistent_buffers_set
    }
    held = [own | dict(network.named_buffers()) for own, network in zip(named, networks, strict=True)]
    rest = [name for name in held[0] if name not in params and name not in passing]
    return module, params, {name: torch.stack([own[name].detach() for own in held]) for name in rest}


def _seeded(build: Callable[[], nn.Module], recipe: Recipe, seed: int) -> nn.Module:
    """Return a new network whose initial weights depend on the seed alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build()
        if any(tensor.is_meta for tensor in module.parameters()):
            raise ArgumentError("`Population.build` must return real weights; got some on the meta device.")
        return recipe.network(module)


def member_rates(lr: Tensor | Sequence[float], members: Sequence[int] | None) -> Tensor:
    """Return the learning rates (M,) in float64, as a plain number has it. Raises ArgumentError."""
    rates = torch.as_tensor(lr, dtype=torch.float64)
    if rates.dim() != 1 or rates.numel() == 0 or not bool((torch.isfinite(rates) & (rates >= 0)).all()):
        raise ArgumentError(f"`Population.lr` must have one finite number >= 0 a member; got {shown(rates.tolist())}.")
    if members is not None and len(members) != rates.numel():
        raise ArgumentError(
            f"`Population.members` must have one id for each of {rates.numel()} learning rates; got {len(members)}."
        )
    return rates


def shared_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe with plain numbers where it holds one a member: what the networks are built from."""
    found = {name: value for name, value in recipe.dials().items() if isinstance(value, Tensor) and value.dim() > 0}
    return recipe.at({name: float(value[0]) for name, value in found.items()})


def member_dials(recipe: Recipe, dials: Mapping[str, Any], members: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the dials (M,) that differ by member: those given, and those that the recipe holds as tensors.

    Raises: ArgumentError if one is unknown, out of range, or not one number a member.
    """
    inside = {name: value for name, value in recipe.dials().items() if isinstance(value, Tensor) and value.dim() > 0}
    wide = torch.promote_types(dtype, torch.float32)
    own = {name: torch.as_tensor(value, dtype=wide) for name, value in (inside | dict(dials)).items()}
    recipe.at(own)
    for name, value in own.items():
        if value.shape != (members,):
            raise ArgumentError(
                f"`Population.dials[{name!r}]` must have one number a member ({members}); got shape "
                f"{tuple(value.shape)}. A number that all share goes into the recipe."
            )
    for name, value in recipe.dials().items():
        if name not in own and isinstance(value, Schedule):
            ends = [getattr(value, field.name) for field in fields(value)]  # type: ignore[arg-type]  # a dataclass
            if any(isinstance(end, Tensor) and end.dim() > 0 for end in ends):
                raise ArgumentError(f"`{name}` must have a schedule of plain numbers; got {shown(value)}.")
    return own
