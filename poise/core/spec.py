"""Recipes as YAML or JSON: plain data with a format version, read strictly and with messages that name the field."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
from typing import Any

from torch import Tensor

from poise.core.dial import dials_of
from poise.core.errors import ArgumentError, shown
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer, snake
from poise.core.schedule import Schedule

__all__ = ["FORMAT", "from_json", "from_spec", "from_yaml", "to_json", "to_spec", "to_yaml"]

FORMAT = 1
"""Version of the form on file; raised when a recipe of the old form would be read wrongly."""

MOST_VALUES = 100_000  # of one field: a number for each member of the widest population


def to_spec(recipe: Recipe) -> dict[str, Any]:
    """Return {"format": 1, "parts": {name: {field: value}}}; a field at its default is written too."""
    return {"format": FORMAT, "parts": {part.name: _part_spec(part) for part in recipe}}


def _part_spec(part: Regularizer) -> dict[str, Any]:
    kind = snake(type(part).__name__)
    spec: dict[str, Any] = {} if kind == part.name else {"kind": kind}
    for field in dataclasses.fields(part):
        if field.name != "name":
            spec[field.name] = _plain(getattr(part, field.name))
    return spec


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        inner = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}  # type: ignore[arg-type]  # every concrete schedule is a dataclass
        return {type(value).__name__.lower(): inner}
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, tuple) and value and all(isinstance(item, Regularizer) for item in value):
        return {item.name: _part_spec(item) for item in value}
    if isinstance(value, float):
        return float(value)  # NumPy's float64 is a float that YAML cannot write
    return list(value) if isinstance(value, tuple) else value


def from_spec(spec: Any) -> Recipe:
    """Return the recipe of plain data. Raises ArgumentError naming the part and the field."""
    if not isinstance(spec, dict) or "parts" not in spec:
        raise ArgumentError(f"a recipe must be a mapping with `format` and `parts`; got {shown(spec)}.")
    if spec.get("format") != FORMAT:
        raise ArgumentError(
            f"the recipe's `format` must be {FORMAT}; got {shown(spec.get('format'))}. "
            "Write `format: 1` as its first line, or use the poise version that wrote it."
        )
    unknown = set(spec) - {"format", "parts"}
    if unknown:
        raise ArgumentError(f"a recipe has the keys `format` and `parts`; got {shown(sorted(map(str, unknown)))} too.")
    parts = spec["parts"] or {}
    if not isinstance(parts, dict):
        raise ArgumentError(f"the recipe's `parts` must be a mapping from names to fields; got {shown(parts)}.")
    return Recipe(*(_part(name, fields) for name, fields in parts.items()))


def _part(name: Any, fields: Any) -> Regularizer:
    if not isinstance(name, str):
        raise ArgumentError(f"a part's name must be text; got {shown(name)}. Put it in quotes.")
    if not isinstance(fields, dict | None):
        raise ArgumentError(f"parts.{name} must be a mapping from fields to values; got {shown(fields)}.")
    fields = dict(fields or {})
    kind = fields.pop("kind", name)
    if isinstance(kind, str) and kind not in Regularizer.registry:
        # A public name's first use declares every regularizer; whoever imported this module alone has used none.
        getattr(importlib.import_module("poise"), "Recipe")  # noqa: B009
    if not isinstance(kind, str) or kind not in Regularizer.registry:
        near = difflib.get_close_matches(kind, Regularizer.registry, n=3) if isinstance(kind, str) else []
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ArgumentError(
            f"parts.{name}: no regularizer is called {shown(kind)}. {hint}The {len(Regularizer.registry)} known are in "
            "docs/regularizers.md; write a class name in lower case, label_smoothing for LabelSmoothing."
        )
    cls = Regularizer.registry[kind]
    declared = dials_of(cls)
    allowed = {f.name for f in dataclasses.fields(cls)} - {"name"}
    values: dict[str, Any] = {"name": name}
    for key, value in fields.items():
        if key not in allowed:
            hint = " (YAML 1.1 reads the key `on` as True; the selection is called `where`)" if key is True else ""
            raise ArgumentError(f"parts.{name}: unknown field {shown(key)}{hint}. Known: {', '.join(sorted(allowed))}.")
        _refuse_too_many(f"parts.{name}.{key}", value)
        values[key] = _number(f"parts.{name}.{key}", value) if key in declared else _structure(value)
    required = {
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(values)):
        raise ArgumentError(f"parts.{name}: {cls.__name__} needs {', '.join(missing)}; got {shown(fields)}.")
    return cls(**values)


def _refuse_too_many(place: str, value: Any) -> None:
    """Raise ArgumentError for more values than a recipe has: a few aliases of lists of aliases stand for billions."""
    waiting, count = [value], 0
    while waiting:
        item = waiting.pop()
        inner = list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else []
        count += len(inner)
        if count > MOST_VALUES:
            raise ArgumentError(f"{place} must have at most {MOST_VALUES} values; got more. Write fewer.")
        waiting += inner


def _structure(value: Any) -> Any:
    """Return a plain field's value: lists are tuples, a mapping is a tuple of parts."""
    if isinstance(value, dict):
        return tuple(_part(name, fields) for name, fields in value.items())
    return tuple(_structure(v) for v in value) if isinstance(value, list) else value


def _number(place: str, value: Any) -> Any:
    """Return a dial's value: a number, a schedule, or a list (one number a member)."""
    if isinstance(value, dict):
        if len(value) != 1 or next(iter(value)) not in Schedule.kinds:
            raise ArgumentError(
                f"{place} must be a number or one schedule of {', '.join(sorted(Schedule.kinds))}; got {shown(value)}."
            )
        ((kind, inner),) = value.items()
        try:
            return Schedule.kinds[kind](**{k: _number(f"{place}.{k}", v) for k, v in dict(inner).items()})
        except TypeError as error:
            raise ArgumentError(f"{place}: {kind} takes other fields: {error}.") from None
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 reads 1e-4 (no dot) as a string
        except ValueError:
            raise ArgumentError(f"{place} must be a number; got the text {shown(value)}.") from None
    if isinstance(value, list):
        import torch

        return torch.tensor([_number(place, v) for v in value], dtype=torch.float32)
    return value


def to_json(recipe: Recipe) -> str:
    """Return the recipe as JSON text."""
    return json.dumps(to_spec(recipe), indent=1)


def from_json(text: str) -> Recipe:
    """Return the recipe of a JSON text."""
    try:
        spec = json.loads(text)
    except ValueError as error:
        raise ArgumentError(f"the recipe is not JSON: {error}.") from None
    return from_spec(spec)


def to_yaml(recipe: Recipe) -> str:
    """Return the recipe as YAML text, parts in the order in which they act."""
    text: str = _yaml().safe_dump(to_spec(recipe), sort_keys=False, default_flow_style=None)
    return text


def from_yaml(text: str) -> Recipe:
    """Return the recipe of a YAML (or JSON) text; tags that would build objects are refused."""
    yaml = _yaml()
    try:
        _refuse_repeated_keys(yaml.compose(text, yaml.SafeLoader))
        spec = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ArgumentError(f"the recipe is not plain YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ArgumentError("the recipe is not plain YAML: its lists or mappings are nested too deep.") from None
    return from_spec(spec)


def _refuse_repeated_keys(root: Any) -> None:
    """Raise ArgumentError if a mapping has one key twice: YAML would keep the last and drop a part in silence."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or node.id == "scalar" or id(node) in seen:
            continue
        seen.add(id(node))  # an alias may stand for a node many times, or inside itself
        if node.id == "sequence":
            waiting += node.value
            continue
        names = [key.value for key, _ in node.value if key.id == "scalar"]
        for name in names:
            if names.count(name) > 1:
                raise ArgumentError(f"the recipe has the key {shown(name)} {names.count(name)} times in one mapping.")
        waiting += [child for _, child in node.value]


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise ArgumentError(
            "recipes as YAML need PyYAML: pip install 'poise[yaml]', or use to_json and from_json."
        ) from None
    return yaml
