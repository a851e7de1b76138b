"""Roles of parameters, found from the module type that owns them, and the selections that regularizers name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.core.units import transposed_groups

__all__ = [
    "SELECTIONS",
    "Role",
    "check_selection",
    "group_numbers",
    "output_layer",
    "output_path",
    "roles_of",
    "select",
    "transposed_of",
]

SELECTIONS = ("weights", "biases", "norms", "embeddings", "inputs", "all")
"""What `where` may name: roles of parameters, `inputs` for the weights that multiply the input columns, or all."""
_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)


@dataclass(frozen=True)
class Role:
    """What a parameter is: `kind` in weight, bias, norm, embedding; `inputs` if it multiplies the input columns.

    `column_groups`: for an input weight (out, in), the group of each of its `in` columns, or None if each column is
    a group of its own. `output`: whether its layer is the output layer, None if that is not known. `transposed`: for
    the weight of a transposed convolution (in, out, ...), whose units are not its dimension 0, its number of groups.
    """

    kind: str
    inputs: bool = False
    column_groups: tuple[int, ...] | None = None
    output: bool | None = field(default=None, compare=False)
    transposed: int = 0


def roles_of(module: nn.Module) -> dict[str, Role]:
    """Return the role of each trainable parameter by name; tied parameters appear once, under their first name.

    A weight of two or more dimensions is a weight; a one-dimensional parameter of a norm layer is a norm; other
    one-dimensional parameters are biases. A module may declare `parameter_roles: dict[str, str]` for its own.
    The first layer with a two-dimensional weight (or the layer that declares `column_groups`) is the input layer.
    """
    roles: dict[str, Role] = {}
    owners: dict[str, str] = {}
    last = output_path(module)
    seen: set[int] = set()
    found_input = False
    declares = any(getattr(m, "column_groups", None) is not None for m in module.modules())
    modules: dict[str, nn.Module] = dict(module.named_modules())
    for path, owner in modules.items():
        declared: Mapping[str, str] = getattr(owner, "parameter_roles", {})
        groups = getattr(owner, "column_groups", None)
        # Torch's parametrizations hold the weight in a module below its layer.
        host: nn.Module = modules.get(path.removesuffix("parametrizations.weight").rstrip("."), owner)
        for name, parameter in owner.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if parameter.is_complex():
                raise ArgumentError(
                    f"a regularized parameter must hold real numbers; got {path}.{name} of {parameter.dtype}. "
                    "Hold its real and imaginary parts as two real parameters."
                )
            kind = declared.get(name) or _kind(owner, parameter)
            is_input = kind == "weight" and (groups is not None if declares else not found_input)
            found_input = found_input or is_input
            if not parameter.requires_grad:
                continue  # only now: the layer after a frozen input layer does not read the columns
            full = f"{path}.{name}" if path else name
            owners[full] = path
            columns = tuple(groups) if is_input and groups is not None else None
            roles[full] = Role(kind, is_input, columns, transposed=transposed_groups(host, parameter))
    return {name: replace(role, output=owners[name] == last) for name, role in roles.items()}


def group_numbers(groups: Iterable[int]) -> list[int]:
    """Return for each input the number of its group, groups counted from 0 in the order in which they come.

    >>> group_numbers((7, 7, 2, 7))
    [0, 0, 1, 0]
    """
    groups = tuple(groups)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return [numbers[group] for group in groups]


def output_path(module: nn.Module) -> str | None:
    """Return the path of the module with the last weight that is the model's own, in module order, trained or not."""
    last, seen = None, set[int]()
    for path, owner in module.named_modules():
        declared: Mapping[str, str] = getattr(owner, "parameter_roles", {})
        for name, parameter in owner.named_parameters(recurse=False):
            is_weight = (declared.get(name) or _kind(owner, parameter)) == "weight"
            if is_weight and id(parameter) not in seen and not getattr(owner, "is_inserted", False):
                last = path
            seen.add(id(parameter))
    return last


def _kind(owner: nn.Module, parameter: Tensor) -> str:
    if isinstance(owner, _NORMS) or getattr(owner, "is_norm", False):
        return "norm"
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding"
    return "weight" if parameter.dim() >= 2 else "bias"


def check_selection(owner: str, where: object) -> None:
    """Raise ArgumentError unless `where` is one of the selections, or a tuple of them."""
    names = where if isinstance(where, tuple) and where else (where,)
    for name in names:
        if name not in SELECTIONS:
            raise ArgumentError(
                f"`{owner}.where` must be one of {', '.join(SELECTIONS)}, or a tuple of these; got {shown(name)}. "
                "Parameters are chosen by role, never by name."
            )


def select(roles: Mapping[str, Role], where: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the parameters in the selection, in the module's order."""
    wanted = where if isinstance(where, tuple) else (where,)

    def chosen(role: Role) -> bool:
        plural = {"weight": "weights", "bias": "biases", "norm": "norms", "embedding": "embeddings"}[role.kind]
        return "all" in wanted or plural in wanted or (role.inputs and "inputs" in wanted)

    return tuple(name for name, role in roles.items() if chosen(role))


def transposed_of(roles: Mapping[str, Role], name: str) -> int:
    """Return a parameter's `transposed`; 0 if nothing is known of it."""
    return roles[name].transposed if name in roles else 0


def output_layer(roles: Mapping[str, Role]) -> tuple[str, ...]:
    """Return the names of the last weight's layer in module order, which is taken for the output layer.

    None, if that layer does not train or its parameters are not among these. A head that is tied to an embedding owns
    no weight: then it is the layer before it. Roles that were written by hand say nothing of it: then it is the last.

    >>> output_layer({"0.weight": Role("weight"), "1.weight": Role("weight"), "1.bias": Role("bias")})
    ('1.weight', '1.bias')
    """
    if any(role.output is not None for role in roles.values()):
        return tuple(name for name, role in roles.items() if role.output)
    weights = [name for name, role in roles.items() if role.kind == "weight"]
    owner = weights[-1].rpartition(".")[0] if weights else None
    return tuple(name for name in roles if name.rpartition(".")[0] == owner)
