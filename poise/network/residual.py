"""Residual branches of any model: where the output of some layers is added to what went into them."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from poise.core.errors import ArgumentError, shown
from poise.core.inserted import Inserted, is_torchs
from poise.network.joins import meetings
from poise.network.sites import Site

__all__ = ["Join", "Residual", "residual", "residual_branches", "unread"]


@dataclass(frozen=True)
class Join:
    """One sum of a skip connection and its branches: the module in whose forward it stands, and the branches' ends.

    `rows` is the dimension that counts rows, 0 but for torch's transformer layers without `batch_first`.
    """

    owner: str
    branches: tuple[Site, ...]
    rows: int = 0


@dataclass(frozen=True)
class Residual:
    """The joins of a model in module order, and a sentence for each place that could not be read."""

    joins: tuple[Join, ...]
    unread: tuple[str, ...]


def residual_branches(module: nn.Module) -> list[Site]:
    """Return (path, module) of the last module of every residual branch, in module order.

    >>> class Block(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 2)
    ...     def forward(self, x):
    ...         return x + self.last(self.first(x).relu())
    >>> [path for path, _ in residual_branches(nn.Sequential(Block(), Block()))]
    ['0.last', '1.last']
    """
    return [site for join in residual(module).joins for site in join.branches]


def unread(module: nn.Module) -> list[str]:
    """Return a sentence for each place where residual branches may be that could not be found."""
    return list(residual(module).unread)


def residual(module: nn.Module) -> Residual:
    """Find where branches join their skip connections, in every module's own forward.

    A module that carries `residual_branches = ("branch", ...)`, names of its children, is taken at its word; a tuple
    within the tuple holds branches of one sum. torch's transformer layers are known. The forward of any other module
    is traced by torch.fx with its children as leaves, on a shallow copy and with torch's generators put back.
    """
    joins: list[Join] = []
    notes: list[str] = []
    taken: set[int] = set()
    for path, owner in module.named_modules():
        found, missed = _of_module(path, owner)
        notes += missed
        for join in found:
            # A module that ends two branches (a shared one) is one site, with the first.
            fresh = tuple(site for site in join.branches if id(site[1]) not in taken)
            taken |= {id(host) for _, host in fresh}
            if fresh:
                joins.append(Join(join.owner, fresh, join.rows))
    return Residual(tuple(joins), tuple(notes))


def _of_module(path: str, owner: nn.Module) -> tuple[list[Join], list[str]]:
    declared = getattr(owner, "residual_branches", None)
    if isinstance(declared, (str, tuple, list)):
        return _declared(path, owner, declared), []
    if isinstance(owner, Inserted) or not any(True for _ in owner.children()):
        return [], []
    for layer, names in _TRANSFORMER_LAYERS.items():
        if isinstance(owner, layer) and is_torchs(owner) and owner.forward.__func__ is layer.forward:  # type: ignore[attr-defined]  # a method
            rows = 0 if owner.self_attn.batch_first else 1  # type: ignore[union-attr]  # a MultiheadAttention
            return [Join(path, (_site(path, owner, name),), rows) for name in names], []
    if is_torchs(owner):
        return [], []  # containers and torch's own layers
    return _traced(path, owner)


_TRANSFORMER_LAYERS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.TransformerEncoderLayer: ("dropout1", "dropout2"),
    nn.TransformerDecoderLayer: ("dropout1", "dropout2", "dropout3"),
}


def _site(path: str, owner: nn.Module, name: str) -> Site:
    return (f"{path}.{name}" if path else name, owner.get_submodule(name))


def _declared(path: str, owner: nn.Module, declared: Any) -> list[Join]:
    try:
        groups = [(one,) if isinstance(one, str) else tuple(one) for one in declared]
        if isinstance(declared, str):
            raise TypeError("one name is no tuple of names")
        return [Join(path, tuple(_site(path, owner, name) for name in group)) for group in groups]
    except (AttributeError, TypeError):
        raise ArgumentError(
            f"`{type(owner).__name__}.residual_branches` must be a tuple of names of its modules, or of tuples of "
            f'these; got {shown(declared)}. Write residual_branches = ("branch",).'
        ) from None


class _Tracer(fx.Tracer):
    """Sees a module's own forward only: every child is one call."""

    proxy_buffer_attributes = True  # else `self.count.add_(1)` would count the trace

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return True


def _trace(owner: nn.Module) -> fx.Graph:
    if "forward" in owner.__dict__:
        raise TypeError("its forward was replaced on the object")  # torch.fx would read the class's
    # Whatever the forward assigns to self goes to a copy that shares children and tensors with the owner.
    twin = object.__new__(type(owner))
    twin.__dict__ = {name: dict(v) if type(v) is dict else v for name, v in owner.__dict__.items()}
    given = inspect.signature(type(owner).forward).parameters.values()
    defaults = {p.name: p.default for p in given if p.default is not inspect.Parameter.empty}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that defaults were taken as given
        return _Tracer().trace(twin, concrete_args=defaults)


def _traced(path: str, owner: nn.Module) -> tuple[list[Join], list[str]]:
    where = f"{path or 'the model'} ({type(owner).__name__})"
    try:
        graph = _trace(owner)
    except Exception as error:  # noqa: BLE001  # the user's own code runs here, and may raise anything
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        return [], [
            f"{where} could not be traced ({shown(reason)}): if it adds a branch to its input, declare "
            "residual_branches = (names of the branches' last modules,) in its class."
        ]
    found = meetings(graph, owner)
    ends = Counter(id(owner.get_submodule(str(end.target))) for one in found for end in one.ends)
    calls = Counter(id(owner.get_submodule(str(n.target))) for n in graph.nodes if n.op == "call_module")
    joins, notes = [], []
    for one in found:
        hosts = [(str(end.target), owner.get_submodule(str(end.target))) for end in one.ends]
        # A hook sees every call of its host: a module that is also called elsewhere is no branch's own.
        own = [(name, host) for name, host in hosts if ends[id(host)] == calls[id(host)]]
        if lost := one.open_ends + len(hosts) - len(own):
            words = (
                "branch that ends in no module of its own"
                if lost == 1
                else "branches that end in no module of their own"
            )
            notes.append(f"{where} has {lost} residual {words}.")
        if own:
            joins.append(Join(path, tuple(_site(path, owner, name) for name, _ in own)))
    return joins, notes
