"""The difference of two JSON values, so that a moved slider sends its new numbers only and a growing curve its end.

A patch is {"$same": 1}, {"$set": value}, {"$more": [items to append]}, {"$keys": {key: patch}} (keys not named stay;
"$gone" lists removed ones) or {"$items": {index: patch}} for lists of one length. `web/src/patch.ts` applies them.
"""

from __future__ import annotations

from typing import Any

__all__ = ["apply", "difference"]

SAME: dict[str, Any] = {"$same": 1}
NESTED = {dict, list}


def difference(old: Any, new: Any) -> dict[str, Any]:
    """Return the patch that makes `new` out of `old`."""
    if type(old) is type(new):
        if old == new:
            return SAME
        if isinstance(new, dict):
            keys = {key: difference(old.get(key, _NONE), value) for key, value in new.items()}
            gone = [key for key in old if key not in new]
            changed = {key: patch for key, patch in keys.items() if patch is not SAME}
            return {"$keys": changed, **({"$gone": gone} if gone else {})}
        if isinstance(new, list):
            return _of_lists(old, new)
    return {"$set": new}


_NONE = object()


def _of_lists(old: list[Any], new: list[Any]) -> dict[str, Any]:
    if old and len(new) > len(old) and new[: len(old)] == old:
        return {"$more": new[len(old) :]}
    if len(old) == len(new) and not NESTED.isdisjoint(map(type, new)):
        items = {str(at): difference(before, after) for at, (before, after) in enumerate(zip(old, new, strict=True))}
        return {"$items": {at: patch for at, patch in items.items() if patch is not SAME}}
    return {"$set": new}


def apply(old: Any, patch: dict[str, Any]) -> Any:
    """Return what `patch` makes of `old`; `old` stays as it is."""
    if "$same" in patch:
        return old
    if "$set" in patch:
        return patch["$set"]
    if "$more" in patch:
        return [*old, *patch["$more"]]
    if "$items" in patch:
        return [apply(item, patch["$items"].get(str(at), SAME)) for at, item in enumerate(old)]
    kept = {key: value for key, value in old.items() if key not in patch.get("$gone", [])}
    return kept | {key: apply(old.get(key), inner) for key, inner in patch["$keys"].items()}
