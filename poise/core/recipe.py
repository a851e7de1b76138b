"""A recipe: regularizers composed as frozen data, folded stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from poise.core.context import Context
from poise.core.dial import Dial, at_step, check_dial, dials_of
from poise.core.errors import ArgumentError, shown
from poise.core.regularizer import EVERY_STAGE, Memory, Regularizer
from poise.core.schedule import Schedule

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from poise.train.run import Run

__all__ = ["Recipe", "fold_group"]


class Recipe:
    """A set of regularizers. The order of listing does not matter: stage, rank and name fix the order.

    >>> from poise import L1, Decay, Recipe
    >>> Recipe(L1(1e-4), Decay(0.05)) == Recipe(Decay(0.05), L1(1e-4))
    True

    Raises: ArgumentError if two parts have one name, or a part is not a regularizer.
    """

    __slots__ = ("_by_stage", "_moving", "parts")

    parts: tuple[Regularizer, ...]
    _by_stage: dict[str, tuple[Regularizer, ...]]
    _moving: dict[str, Schedule]  # the dials that are schedules: each step asks for them

    def __init__(self, *parts: Regularizer) -> None:
        for part in parts:
            if not isinstance(part, Regularizer):
                raise ArgumentError(f"`Recipe.parts` must be regularizers; got {shown(part)}. Write Recipe(L2(1e-4)).")
        self._set(parts)
        names = [part.name for part in self.parts]
        for name in names:
            if names.count(name) > 1:
                raise ArgumentError(
                    f"`Recipe.parts` must have distinct names; got {name!r} {names.count(name)} times. "
                    f'Name one of them: {type(self[name]).__name__}(..., name="{name}_2").'
                )

    def _set(self, parts: tuple[Regularizer, ...]) -> None:
        def place(part: Regularizer) -> tuple[int, int, str]:
            stages = part.stages()
            return (EVERY_STAGE.index(stages[0]) if stages else 0, part.rank, part.name)

        ordered = tuple(sorted(parts, key=place))
        object.__setattr__(self, "parts", ordered)
        by_stage = {
            stage: tuple(sorted((p for p in ordered if stage in p.stages()), key=lambda p: (p.rank, p.name)))
            for stage in EVERY_STAGE
        }
        object.__setattr__(self, "_by_stage", by_stage)
        moving = {key: value for key, value in self.dials().items() if isinstance(value, Schedule)}
        object.__setattr__(self, "_moving", moving)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Recipe is frozen: cannot set {name!r}. Use `at`, `plus` or `without` for a new one.")

    # --- as a collection -----------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Regularizer]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, name: str) -> Regularizer:
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(f"no part named {name!r} in this recipe; it has {[p.name for p in self.parts]}")

    def __contains__(self, name: object) -> bool:
        return any(part.name == name for part in self.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.spec() == other.spec()

    def __hash__(self) -> int:
        # Not of the numbers: 1 and 1.0, or a float and a 0-d tensor, are equal but print differently.
        return hash(tuple(part.name for part in self.parts))

    def __reduce__(self) -> tuple[Any, ...]:
        # copy.deepcopy, pickle and scikit-learn's clone would set the slots, which a frozen record refuses.
        return (Recipe, self.parts)

    def __repr__(self) -> str:
        if not self.parts:
            return "Recipe()"
        rows = [(_call(part), ", ".join(part.stages())) for part in self.parts]
        width = max(len(call) for call, _ in rows) + 1
        lines = [f"    {call + ',':<{width}}  # {stages}" for call, stages in rows]
        return "\n".join(["Recipe(", *lines, ")"])

    # --- dials ---------------------------------------------------------------------------------------------------

    def dials(self) -> dict[str, Any]:
        """Return the value of every dial under its key `part.field`."""
        return {f"{part.name}.{field}": value for part in self.parts for field, value in part.dials().items()}

    def declared(self) -> dict[str, Dial]:
        """Return the declaration of every dial under its key `part.field`."""
        return {f"{part.name}.{field}": d for part in self.parts for field, d in dials_of(part).items()}

    def at(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with dials replaced, each checked. Raises ArgumentError on an unknown key."""
        declared = self.declared()
        for key, value in values.items():
            if key not in declared:
                raise ArgumentError(f"`Recipe.at` knows the dials {', '.join(declared)}; got {key!r}.")
            owner, field = key.rsplit(".", 1)
            check_dial(type(self[owner]).__name__, field, declared[key], value)
        return self._with(values)

    def _with(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with dials replaced, unchecked and unsorted: the step calls this with mapped tensors."""
        changed: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            owner, field = key.rsplit(".", 1)
            changed.setdefault(owner, {})[field] = value
        new = {part.name: part.at(changed.get(part.name, {})) for part in self.parts}
        recipe: Recipe = object.__new__(Recipe)
        object.__setattr__(recipe, "parts", tuple(new.values()))
        stages = {stage: tuple(new[p.name] for p in parts) for stage, parts in self._by_stage.items()}
        object.__setattr__(recipe, "_by_stage", stages)
        moving = {key: value for key, value in self._moving.items() if key not in values}
        moving |= {key: value for key, value in values.items() if isinstance(value, Schedule)}
        object.__setattr__(recipe, "_moving", moving)
        return recipe

    def resolve(self, values: Mapping[str, Any], step: int) -> Recipe:
        """Return the recipe of one step: member's dials put in, schedules evaluated."""
        if not self._moving and not values:
            return self
        return self._with({key: at_step(value, step) for key, value in (self._moving | dict(values)).items()})

    def neutral(self, *names: str) -> Recipe:
        """Return the recipe with the named parts (all, if none is named) at neutral: same structure, no effect.

        Raises KeyError if there is no such part.
        """
        for name in names:
            self[name]
        chosen = names or tuple(part.name for part in self.parts)
        return Recipe(*(part.neutral() if part.name in chosen else part for part in self.parts))

    def without(self, *names: str) -> Recipe:
        """Return the recipe without the named parts. Raises KeyError if there is no such part."""
        for name in names:
            self[name]
        return Recipe(*(part for part in self.parts if part.name not in names))

    def plus(self, *parts: Regularizer) -> Recipe:
        """Return the recipe with parts added."""
        return Recipe(*self.parts, *parts)

    # --- the fold ------------------------------------------------------------------------------------------------

    def stage(self, stage: str) -> tuple[Regularizer, ...]:
        """Return the parts that act in a stage, in the order in which they act."""
        return self._by_stage[stage]

    def remember(self, params: Mapping[str, Tensor]) -> dict[str, Memory]:
        """Return every part's memory at step 0, by part name."""
        return {part.name: part.remember(params) for part in self.parts}

    def network(self, module: nn.Module) -> nn.Module:
        """Insert every network part's layers; the module is changed in place and returned."""
        for part in self.stage("network"):
            module = part.network(module)
        return module

    def fold(self, stage: str, value: Any, memory: dict[str, Memory], ctx: Context) -> tuple[Any, dict[str, Memory]]:
        """Pass a value through the parts of one stage: the left fold of (value, memory, ctx) -> (value, memory)."""
        for parts in self.groups(stage):
            value, memory = fold_group(parts, stage, value, memory, ctx)
        return value, memory

    def groups(self, stage: str) -> Iterator[tuple[Regularizer, ...]]:
        """Yield the parts of a stage in their order; neighbours of the batch stage that are done at once, together."""
        for together, group in groupby(self.stage(stage), lambda part: type(part).together):
            parts = tuple(group)
            yield from [parts] if stage == "batch" and together is not None else ((part,) for part in parts)

    # --- in and out ----------------------------------------------------------------------------------------------

    def spec(self) -> dict[str, Any]:
        """Return the recipe as plain data: {"format": 1, "parts": {...}}."""
        from poise.core.spec import to_spec

        return to_spec(self)

    def to_yaml(self) -> str:
        """Return the recipe as YAML text."""
        from poise.core.spec import to_yaml

        return to_yaml(self)

    @staticmethod
    def from_yaml(text: str) -> Recipe:
        """Return the recipe of a YAML text. Raises ArgumentError naming the part and the field."""
        from poise.core.spec import from_yaml

        return from_yaml(text)

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Return the recipe of a YAML or JSON file."""
        from poise.core.spec import from_json, from_yaml

        # YAML would read a character beyond 16 bits, which JSON writes as two escapes, as two broken ones.
        read = from_json if Path(path).suffix.lower() == ".json" else from_yaml
        return read(Path(path).read_text(encoding="utf-8"))

    def explain(self, module: nn.Module | None = None, optimizer: Optimizer | None = None) -> str:
        """Return the receipt: each part, its stage, formula, what it touches, what it costs; and conflicts.

        With an optimizer, also which formula its own weight decay is, and on what.
        """
        from poise.core.explain import receipt

        return receipt(self, module, optimizer)

    def start(
        self,
        model: nn.Module,
        *,
        seed: int = 0,
        columns: Tensor | None = None,
        classes: int | Mapping[str, int] | None = None,
        teacher: Callable[[Any], Any] | None = None,
        loss: Callable[[Any, Any], Tensor] | None = None,
    ) -> Run:
        """Begin a training run of the user's own loop; see `poise.train.run.Run`."""
        from poise.train.run import Run

        return Run(self, model, seed=seed, columns=columns, classes=classes, teacher=teacher, loss=loss)


def fold_group(
    parts: tuple[Regularizer, ...], stage: str, value: Any, memory: dict[str, Memory], ctx: Context
) -> tuple[Any, dict[str, Memory]]:
    """Return the value and memory after one of a recipe's groups."""
    together = type(parts[0]).together
    if len(parts) > 1 and together is not None:
        return together(parts, value, ctx), memory
    (part,) = parts
    value, own = getattr(part, stage)(value, memory[part.name], ctx.within(part.name))
    return value, memory | {part.name: own}


def _call(part: Regularizer) -> str:
    """Return the part as the call that makes it, defaults left out."""
    default_name = type(part)().name if _has_defaults(type(part)) else ""
    shown_fields = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name == "name":
            if value != default_name:
                shown_fields.append(f"name={value!r}")
        elif "dial" in field.metadata or value != field.default:
            short = f"{value:g}" if isinstance(value, float) else repr(value)
            # The call must make the same part again, so a number that six digits would round is written whole.
            number = repr(value) if isinstance(value, float) and float(short) != value else short
            shown_fields.append(f"{field.name}={number}")
    return f"{type(part).__name__}({', '.join(shown_fields)})"


def _has_defaults(kind: type[Regularizer]) -> bool:
    return all(
        f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        for f in dataclasses.fields(kind)
    )
