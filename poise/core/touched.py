"""What a part acts on, in words: sites, parameters by role with their number, and what it leaves out."""

from __future__ import annotations

from collections import Counter

from torch import nn

from poise.core.kinds import Insertion
from poise.core.regularizer import Regularizer
from poise.core.select import roles_of, select

__all__ = ["NOTHING", "touched"]

NOTHING = "NOTHING"
"""What the receipt says of a part that finds no site and no parameter."""

_PLURALS = {"weight": "weights", "bias": "biases", "norm": "norms", "embedding": "embeddings"}


def touched(part: Regularizer, module: nn.Module | None) -> str:
    """Return what a part acts on, in words; exact names and counts if the module is given."""
    if isinstance(part, Insertion):
        if module is None:
            return part.touches()
        found = [path or "(the module itself)" for path, _ in part.find(module)]
        return f"{len(found)} sites ({', '.join(found[:6])}{', ...' if len(found) > 6 else ''})" if found else NOTHING
    where = getattr(part, "where", None)
    if where is None or part.stages()[:1] == ("batch",):  # there `where` names columns, not parameters
        first = part.stages()[0] if part.stages() else "nothing"
        return {"batch": "the batch", "gradient": "all gradients", "average": "all weights"}.get(first, "the run")
    names = where if isinstance(where, str) else " and ".join(where)
    if module is None:
        return names
    roles = roles_of(module)
    chosen = select(roles, where)
    if not chosen:
        return f"{NOTHING} ({names} selects no parameter)"
    parameters = dict(module.named_parameters())
    count = sum(parameters[name].numel() for name in chosen)
    listed = ", ".join(chosen[:4]) + (", ..." if len(chosen) > 4 else "")
    left = Counter(_PLURALS[role.kind] for name, role in roles.items() if name not in chosen)
    rest = ", ".join(f"{number} {kind}" for kind, number in left.items())
    return f"{names}: {len(chosen)} tensors, {count:,} numbers ({listed}){f', not {rest}' if rest else ''}"
