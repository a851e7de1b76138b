"""A torch optimizer as a run meets it: which of the run's parameters each of its groups holds, and what fights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from poise.core.errors import ArgumentError, PoiseWarning
from poise.core.recipe import Recipe
from poise.train.scale import check_effective_step, effective_step, thresholding

__all__ = ["check_held", "check_optimizer", "check_step", "clear_gradients", "groups_of", "parameters_of", "scales_of"]


def parameters_of(optimizer: Optimizer) -> Iterator[Tensor]:
    """Yield every parameter that the optimizer holds, the loss's own among them."""
    for group in optimizer.param_groups:
        yield from group["params"]


def clear_gradients(params: Mapping[str, Tensor], optimizers: Sequence[Optimizer]) -> None:
    """Clear the gradients of the run's parameters, and of all that the optimizers hold."""
    for parameter in (*params.values(), *(p for one in optimizers for p in parameters_of(one))):
        parameter.grad = None


def groups_of(optimizer: Optimizer, params: Mapping[str, Tensor]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yield (names of the run's parameters that have a gradient, group) for each group: its lr is theirs."""
    names = {id(parameter): name for name, parameter in params.items()}
    for group in optimizer.param_groups:
        yield [names[id(p)] for p in group["params"] if id(p) in names and p.grad is not None], group


def scales_of(
    recipe: Recipe, optimizer: Optimizer, group: dict[str, Any], params: Mapping[str, Tensor], names: list[str]
) -> dict[str, Tensor]:
    """Return the optimizer's effective step for each named parameter, if a proximal part will ask for it."""
    if not thresholding(recipe.stage("update")):
        return {}
    return {name: effective_step(optimizer, group, params[name]) for name in names}


def check_optimizer(recipe: Recipe, optimizer: Optimizer, params: Mapping[str, Tensor]) -> None:
    """Raise ArgumentError for an optimizer that does not suit model or recipe; warn of a second decay."""
    known = {id(parameter) for parameter in params.values()}
    if not any(id(p) in known for p in parameters_of(optimizer)):
        raise ArgumentError("`Run.update.optimizer` holds none of this model's parameters: build it from run.model.")
    if thresholding(recipe.stage("update")):
        check_effective_step(optimizer)  # here too: later the optimizer would have moved the weights
    added = [part.name for part in recipe.stage("objective") if part.name not in thresholding(recipe)]
    if added and any(group.get("maximize", False) for group in optimizer.param_groups):
        raise ArgumentError(
            f"`Run.update.optimizer` must minimise, because {' and '.join(added)} adds to the loss; got maximize=True. "
            "Negate the loss and leave it out."
        )
    decays = any(group.get("weight_decay", 0) for group in optimizer.param_groups)
    doubled = [part.name for part in recipe if type(part).__name__ in ("Decay", "L2")]
    if decays and doubled:
        warnings.warn(
            f"the optimizer has weight_decay and the recipe has {' and '.join(doubled)}: weights are decayed twice. "
            "Pass weight_decay=0.0 to the optimizer.",
            PoiseWarning,
            stacklevel=4,  # the line that called Run.update
        )


def check_step(optimizers: Sequence[Optimizer]) -> None:
    """Raise ArgumentError for an optimizer that asks for the loss again within its step."""
    if any(isinstance(one, LBFGS) for one in optimizers):
        raise ArgumentError(
            "`Run.update.optimizer` must step from one gradient; got LBFGS, which asks for more of them, and no part "
            "could edit those. Use SGD or Adam."
        )


def check_held(model: nn.Module, optimizers: Sequence[Optimizer], params: Mapping[str, Tensor]) -> None:
    """Raise ArgumentError for a parameter of the model that learns, and was frozen or not there when the run started.

    No part would act on it, and the best or averaged weights of its place would be older ones, or another layer's.
    """
    known = {id(parameter) for parameter in params.values()}
    learning = {id(p) for one in optimizers for p in parameters_of(one) if p.grad is not None}
    if not learning <= known:  # it may be a parameter of the loss
        strange = [name for name, p in model.named_parameters() if id(p) in learning - known]
        if strange:
            raise ArgumentError(
                f"`Run.update.optimizer` must hold what could learn when the run started; got {strange[0]} too, which "
                "was frozen, or not there. Call `recipe.start` when every layer is in its place and may learn: what is "
                "frozen after that may learn again at any time."
            )
