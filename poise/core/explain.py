"""The receipt of a recipe: what each part does, where, to which parameters, at what cost; and what fights."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import nn
from torch.optim import Optimizer

from poise.core.conflicts import conflicts, remarks
from poise.core.kinds import Insertion
from poise.core.recipe import Recipe
from poise.core.regularizer import EVERY_STAGE
from poise.core.select import roles_of
from poise.core.touched import touched

__all__ = ["decay_formula", "receipt"]


def receipt(recipe: Recipe, module: nn.Module | None = None, optimizer: Optimizer | None = None) -> str:
    """Return the receipt as text: each part; with an optimizer, the decay that it runs itself; what fights.

    With a module, also the parameters or sites that each part touches.
    """
    if not recipe.parts and optimizer is None:
        return "An empty recipe: training is left as it is."
    lines = []
    for stage in EVERY_STAGE:
        for part in recipe.stage(stage):
            if part.stages()[0] != stage:
                continue
            lines.append(f"{part.name}  [{' -> '.join(part.stages())}]")
            lines.append(f"    {part.formula or (type(part).__doc__ or '').splitlines()[0]}")
            lines.append("    " + ", ".join(f"{field} = {_shown(value)}" for field, value in part.dials().items()))
            lines.append(f"    touches {touched(part, module)}; costs {part.cost}")
            if isinstance(part, Insertion) and module is not None:
                lines += [f"    note: {note}" for note in part.notes(module)]
    if optimizer is not None:
        lines += _of_optimizer(recipe, module, optimizer)
    lines += [f"note: {remark}" for remark in remarks(recipe, module)]
    problems = conflicts(recipe, module) + _decayed_twice(recipe, optimizer)
    lines += [f"warning: {problem}" for problem in problems] or ["no conflicts found"]
    return "\n".join(line for line in lines if line.strip())


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def decay_formula(optimizer: Optimizer, group: dict[str, Any]) -> str:
    """Return what an optimizer's `weight_decay` does, which its name does not tell.

    >>> import torch
    >>> one = torch.optim.Adam([torch.zeros(1, requires_grad=True)], weight_decay=0.1)
    >>> decay_formula(one, one.param_groups[0])
    'g <- g + 0.1 w, an L2 penalty that Adam divides by sqrt(v)'
    """
    rate = group.get("weight_decay", 0)
    name = type(optimizer).__name__
    if not rate:
        return "no weight decay of its own"
    if group.get("decoupled_weight_decay", name in ("AdamW", "Lion")):
        return f"w <- w (1 - lr {rate:g}), decoupled, before the step"
    if name in ("Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta"):
        return f"g <- g + {rate:g} w, an L2 penalty that {name} divides by sqrt(v)"
    if name == "SGD":
        return f"g <- g + {rate:g} w, an L2 penalty: as w <- w (1 - lr {rate:g}) without momentum"
    return f"weight_decay = {rate:g}, as {name} defines it"


def _of_optimizer(recipe: Recipe, module: nn.Module | None, optimizer: Optimizer) -> list[str]:
    lines = []
    names = {} if module is None else {id(parameter): name for name, parameter in module.named_parameters()}
    roles = {} if module is None else roles_of(module)
    for number, group in enumerate(optimizer.param_groups):
        lines.append(f"{type(optimizer).__name__}, group {number}, lr {float(group['lr']):g}")
        kinds = Counter(
            roles[names[id(p)]].kind if names.get(id(p)) in roles else "other tensor" for p in group["params"]
        )
        held = ", ".join(
            f"{count} of {kind}" if kind != "other tensor" else f"{count} others" for kind, count in kinds.items()
        )
        lines.append(f"    {decay_formula(optimizer, group)}")
        lines.append(f"    touches {len(group['params'])} tensors ({held})")
        touched_too = [kind for kind in ("bias", "norm") if kinds[kind]]
        if group.get("weight_decay", 0) and touched_too:
            lines.append(
                f"warning: this decay also shrinks {' and '.join(touched_too)} parameters. "
                "Decay(rate) selects weights by the type of their owner; pass weight_decay=0.0 to the optimizer."
            )
    return lines


def _decayed_twice(recipe: Recipe, optimizer: Optimizer | None) -> list[str]:
    own = [part.name for part in recipe if type(part).__name__ in ("Decay", "L2")]
    if optimizer is None or not own or not any(group.get("weight_decay", 0) for group in optimizer.param_groups):
        return []
    return [f"the optimizer and {' and '.join(own)} both shrink the weights: pass weight_decay=0.0 to the optimizer."]
