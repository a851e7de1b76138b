"""The receipt of a recipe: what each part does, where, to which parameters, at what cost; and what fights."""

from __future__ import annotations

from torch import nn

from poise.core.kinds import Insertion
from poise.core.recipe import Recipe
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.core.select import roles_of, select

__all__ = ["conflicts", "receipt"]


def receipt(recipe: Recipe, module: nn.Module | None = None) -> str:
    """Return the receipt as text; with a module, also the parameters or sites that each part touches."""
    if not recipe.parts:
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
    problems = conflicts(recipe, module)
    lines += [f"warning: {problem}" for problem in problems] or ["no conflicts found"]
    return "\n".join(line for line in lines if line.strip())


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def touched(part: Regularizer, module: nn.Module | None) -> str:
    """Return what a part acts on, in words; exact names and counts if the module is given."""
    if isinstance(part, Insertion):
        if module is None:
            return part.touches()
        found = [path or "(the module itself)" for path, _ in part.find(module)]
        return f"{len(found)} sites ({', '.join(found[:6])}{', ...' if len(found) > 6 else ''})" if found else "NOTHING"
    where = getattr(part, "where", None)
    if where is None or part.stages()[:1] == ("batch",):  # there `where` names columns, not parameters
        first = part.stages()[0] if part.stages() else "nothing"
        return {"batch": "the batch", "gradient": "all gradients", "average": "all weights"}.get(first, "the run")
    names = where if isinstance(where, str) else " and ".join(where)
    if module is None:
        return names
    chosen = select(roles_of(module), where)
    if not chosen:
        return f"NOTHING ({names} selects no parameter)"
    parameters = dict(module.named_parameters())
    count = sum(parameters[name].numel() for name in chosen)
    listed = ", ".join(chosen[:4]) + (", ..." if len(chosen) > 4 else "")
    return f"{names}: {len(chosen)} tensors, {count:,} numbers ({listed})"


def conflicts(recipe: Recipe, module: nn.Module | None = None) -> list[str]:
    """Return one sentence for each pair of parts that fight, and for each part that touches nothing."""
    found = []
    kinds: dict[str, list[str]] = {}
    for part in recipe:
        kinds.setdefault(type(part).__name__, []).append(part.name)
        if module is not None and touched(part, module).startswith("NOTHING"):
            found.append(f"{part.name} has no effect: it found {touched(part, module)} in this model.")
    if "L2" in kinds and "Decay" in kinds:
        found.append("l2 and decay both shrink the weights (once through the gradient, once directly): keep one.")
    if "Mixup" in kinds and "CutMix" in kinds:
        found.append("mixup and cutmix mix targets twice in the same step: the mixed share is that of both.")
    for kind in ("LabelSmoothing", "Decay", "L2", "L1", "BatchNorm", "Mixup"):
        if len(kinds.get(kind, [])) > 1:
            found.append(f"{' and '.join(kinds[kind])} are the same regularizer twice: their strengths add up.")
    if ("L1" in kinds or "GroupLasso" in kinds) and ("Ema" in kinds or "Swa" in kinds):
        found.append(
            "averaged weights are not exactly zero where L1 zeroes only part of the time: "
            "read sparsity off the raw weights."
        )
    return found
