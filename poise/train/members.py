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
from poise.train.optimizers import Flat

__all__ = ["Networks", "build_members", "member_dials", "member_rates", "member_seed", "shared_recipe", "step_rates"]

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
    stacked: dict[str, Tensor] = {}
    for place, member in enumerate(members):
        network = _seeded(build, recipe, member_seed(seed, member))
        # Into place at once: a thousand networks of Python objects would weigh more than their weights.
        own = {name: t.detach() for name, t in [*network.named_parameters(), *network.named_buffers()]}
        if place == 0:
            module = copy.deepcopy(network)
            stacked = _room(module, own, len(members))
        if [(n, t.shape) for n, t in own.items()] != [(n, t.shape[1:]) for n, t in stacked.items()]:
            raise ArgumentError(
                "`Population.build` must return networks of one shape; got different ones. Build one kind."
            )
        for name, tensor in own.items():
            stacked[name][place] = tensor
    for layer in module.modules():
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
            layer.sparse = False  # the optimizer of a population takes dense gradients
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    # An inserted layer's key and dials are put in anew before each step.
    passing = {
        f"{path}.{name}" for path, layer in inserted_layers(module) for name in layer._non_persistent_buffers_set
    }
    params = {name: tensor for name, tensor in stacked.items() if name in trained}
    return module, params, {n: t for n, t in stacked.items() if n not in trained and n not in passing}


def _room(network: nn.Module, own: Mapping[str, Tensor], members: int) -> dict[str, Tensor]:
    """Return empty tensors, the member first, for what a network owns: of what trains, views of one (M, P) tensor.

    Stacked apart and gathered later, the weights would take their room twice, and leave a hole that nothing fills.
    """
    trained = {name: own[name] for name, parameter in network.named_parameters() if parameter.requires_grad}
    dtypes = {tensor.dtype for tensor in trained.values()}
    if len(dtypes) != 1:
        raise ArgumentError(
            f"`Population.build` must return networks with trainable parameters of one dtype; got {shown(dtypes)}."
        )
    shapes = {name: tensor.shape for name, tensor in trained.items()}
    views = Flat.empty(next(iter(trained.values())), members, shapes).views()
    return {n: views[n] if n in views else tensor.new_empty((members, *tensor.shape)) for n, tensor in own.items()}


def _seeded(build: Callable[[], nn.Module], recipe: Recipe, seed: int) -> nn.Module:
    """Return a new network whose initial weights depend on the seed alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        # Where no other device draws, its own generator is all: `manual_seed` notes a traceback for each kind of them.
        (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(seed)
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


def step_rates(base: Tensor, schedule: Schedule | None, first: int, steps: int) -> Tensor:
    """Return the learning rates (steps, M) of the steps from number `first` on, of those at a scale of 1, (M,)."""
    scale = torch.ones((), device=base.device)
    if schedule is not None:
        scale = torch.as_tensor(schedule(torch.arange(first, first + steps, device=base.device)[:, None]))
    return (base * scale).expand(steps, -1)


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
