"""Additions in a traced forward pass at which branches meet their skip connection."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional as F

__all__ = ["Meeting", "meetings"]

_ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_PRODUCTS = {operator.mul, operator.imul, operator.truediv, torch.mul, torch.div, "mul", "mul_", "div", "div_"}
# A factor on a row that goes in is that factor on the row that comes out. Reshaping is not here: it may join rows.
_PASSED = {
    *("contiguous", "permute", "to", "transpose", "type_as", torch.permute, torch.transpose, operator.neg, torch.neg),
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
}
_MOVES = {"permute", "transpose", torch.permute, torch.transpose}
_PASSED_MODULES = (nn.Identity, nn.modules.dropout._DropoutNd)
_WEIGHTED = {F.linear, F.conv1d, F.conv2d, F.conv3d, F.bilinear}


@dataclass(frozen=True)
class Meeting:
    """The calls at which the branches of one sum end, and how many branches end in no call of a module of their own."""

    ends: tuple[fx.Node, ...]
    open_ends: int


def meetings(graph: fx.Graph, module: nn.Module) -> list[Meeting]:
    """Return the meetings of a forward pass of `module`, traced with every child as a leaf, in order.

    A sum of several terms is one meeting. Where a term (scaled or not) is an ancestor of others, it is the skip and
    they are the branches. Where none is, but all come from one value, the term with the least work is the shortcut,
    if it is a chain with at most one weight layer (a projection) and each other term has more weight layers.
    """
    reader = _Reader(graph, module)
    found = []
    for node in graph.nodes:
        if _adds(node) and not (len(node.users) == 1 and _adds(next(iter(node.users)))):
            branches, shared = reader.branches([*_terms(node)])
            ends = [reader.end(term, shared) for term in branches]
            if ends:
                found.append(Meeting(tuple(end for end in ends if end), ends.count(None)))
    return found


def _adds(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_method") and node.target in _ADDITIONS


def _operands(node: fx.Node) -> list[fx.Node]:
    other = [node.kwargs[name] for name in ("input", "other") if name in node.kwargs]
    return [one for one in (*node.args, *other) if isinstance(one, fx.Node)]


def _terms(node: fx.Node) -> Iterator[fx.Node]:
    """Yield the terms of a sum; a partial sum that is used only for the next one is taken apart."""
    for operand in _operands(node):
        if _adds(operand) and len(operand.users) == 1:
            yield from _terms(operand)
        else:
            yield operand


class _Reader:
    def __init__(self, graph: fx.Graph, module: nn.Module) -> None:
        self.module = module
        self.calls: dict[int, int] = {}
        self.before: dict[fx.Node, set[fx.Node]] = {}  # a node and its ancestors, constants and parameters left out
        for node in graph.nodes:
            own = set() if node.op == "get_attr" else {node}
            self.before[node] = own.union(*(self.before[one] for one in node.all_input_nodes))
            if node.op == "call_module":
                self.calls[id(self.host(node))] = self.calls.get(id(self.host(node)), 0) + 1

    def host(self, node: fx.Node) -> nn.Module:
        return self.module.get_submodule(str(node.target))

    def branches(self, terms: list[fx.Node]) -> tuple[list[fx.Node], set[fx.Node]]:
        """Return the terms that are branches, and what lies before the fork."""
        cores = {term: self._core(term) for term in terms}
        skips = [t for t in terms if any(cores[t] in self.before[o] for o in terms if o is not t and o is not cores[t])]
        if skips:
            fork = set().union(*(self.before[cores[skip]] for skip in skips))
            own = [t for t in terms if t not in skips and any(cores[s] in self.before[t] for s in skips)]
            return own, fork
        if len(terms) < 2 or not (fork := set.intersection(*(self.before[term] for term in terms))):
            return [], set()
        work = {term: self._work(term, fork) for term in terms}
        shortcut = min(terms, key=lambda term: work[term])
        others = [term for term in terms if term is not shortcut]
        if not (self._is_chain(shortcut, fork) and work[shortcut] <= 1):
            return [], set()
        return ([], set()) if any(work[term] <= work[shortcut] for term in others) else (others, fork)

    def _core(self, term: fx.Node) -> fx.Node:
        """Return what the term is a scaled or rearranged copy of."""
        while True:
            if term.op == "call_module" and isinstance(self.host(term), _PASSED_MODULES):
                term = term.all_input_nodes[0]
            elif (inner := self._passed(term)) is not None:
                term = inner
            else:
                return term

    def _passed(self, node: fx.Node) -> fx.Node | None:
        """Return the operand that the operation only scales or rearranges, or None."""
        if node.op not in ("call_function", "call_method"):
            return None
        values = [one for one in node.all_input_nodes if self.before[one]]  # not parameters
        if len(values) != 1 or values[0] is not node.args[0]:
            scaled = node.target in _PRODUCTS and len(values) == 1 and node.target not in (operator.truediv, torch.div)
            return values[0] if scaled else None
        if node.target is operator.getitem:
            return values[0] if node.args[1] == 0 and values[0].op == "call_module" else None
        if node.target in _MOVES and not _keeps_rows(node):
            return None
        return values[0] if node.target in _PASSED or node.target in _PRODUCTS else None

    def _work(self, term: fx.Node, fork: set[fx.Node]) -> int:
        count = 0
        for node in self.before[term] - fork:
            if node.op == "call_module":
                inner = self.host(node).modules()
                count += sum(any(p.dim() > 1 for p in one.parameters(recurse=False)) for one in inner)
            count += node.target in _WEIGHTED
        return count

    def _is_chain(self, term: fx.Node, fork: set[fx.Node]) -> bool:
        while term not in fork:
            values = [one for one in term.all_input_nodes if self.before[one]]
            if len(values) != 1:
                return False
            term = values[0]
        return True

    def end(self, term: fx.Node, fork: set[fx.Node]) -> fx.Node | None:
        """Return the last module call of a branch whose output nothing else uses, or None."""
        node: fx.Node | None = term
        while node is not None and node not in fork:
            # Other elements of a tuple that a call returns are free to go elsewhere.
            users = [u for u in node.users if not (u.target is operator.getitem and u.args[1] != 0)]
            if len(users) != 1:
                return None
            if node.op == "call_module":
                host = self.host(node)
                if not (isinstance(host, _PASSED_MODULES) and self.calls[id(host)] > 1):
                    return node
                node = node.all_input_nodes[0]  # one dropout at several places: the layer goes before it
            else:
                node = self._passed(node)
        return None


def _keeps_rows(node: fx.Node) -> bool:
    """Whether a permutation or transposition leaves the first dimension in its place."""
    named = [node.kwargs[name] for name in ("dims", "dim0", "dim1") if name in node.kwargs]
    dims = [*node.args[1:], *named]
    if len(dims) == 1 and isinstance(dims[0], (tuple, list)):
        dims = list(dims[0])
    if node.target in ("permute", torch.permute):
        return len(dims) > 0 and isinstance(dims[0], int) and dims[0] == 0
    return all(isinstance(dim, int) and dim != 0 for dim in dims)
