"""Residual branches are found in hand-written blocks, and nothing else is taken for one."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError
from poise.network.residual import residual, residual_branches
from poise.testing import residual_blocks as blocks


def paths(module: nn.Module) -> list[str]:
    return [path for path, _ in residual_branches(module)]


def joins(module: nn.Module) -> list[list[str]]:
    return [[path for path, _ in join.branches] for join in residual(module).joins]


class Written(nn.Module):
    """A forward as a function of the module and its input, over named children."""

    def __init__(self, forward: Any, **children: nn.Module) -> None:
        super().__init__()
        self.written = forward
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.written(self, x)
        return out


def linear(width: int = 4) -> nn.Linear:
    return nn.Linear(width, width)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (blocks.BasicBlock(), ["bn2"]),
        (blocks.BasicBlock(4, 6), ["bn2"]),
        (blocks.Bottleneck(), ["bn3"]),
        (blocks.Bottleneck(4, 6), ["bn3"]),
        (blocks.PreActivation(), ["conv2"]),
        (blocks.PreActivation(4, 6), ["conv2"]),
        (blocks.ConvNeXt(), ["down"]),
        (blocks.PreNorm(), ["attention", "down"]),
        (blocks.Parallel(), ["first", "second"]),
        (blocks.Loop(), ["layers.0", "layers.1", "layers.2"]),
        (blocks.Declared(), ["linear"]),
        (nn.TransformerEncoderLayer(4, 2), ["dropout1", "dropout2"]),
        (nn.TransformerDecoderLayer(4, 2), ["dropout1", "dropout2", "dropout3"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_branch_ends_in_its_last_module(block: nn.Module, expected: list[str]) -> None:
    assert paths(block) == expected


def test_nested_blocks_are_found_in_module_order_with_their_full_paths() -> None:
    inner = nn.Sequential(blocks.Loop(), nn.Linear(4, 4))
    outer = Written(lambda self, x: x + self.inner(x), inner=inner)
    model = nn.Sequential(nn.Linear(4, 4), outer)
    assert paths(model) == ["1.inner", "1.inner.0.layers.0", "1.inner.0.layers.1", "1.inner.0.layers.2"]


def test_branches_of_one_sum_are_one_join_and_two_sums_are_two() -> None:
    assert joins(blocks.Parallel()) == [["first", "second"]]
    assert joins(blocks.PreNorm()) == [["attention"], ["down"]]


def test_transformer_layers_say_which_dimension_counts_rows() -> None:
    assert {join.rows for join in residual(nn.TransformerEncoderLayer(4, 2)).joins} == {1}
    assert {join.rows for join in residual(nn.TransformerEncoderLayer(4, 2, batch_first=True)).joins} == {0}


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: self.a(x) + self.b(x),  # two towers of equal work
        lambda self, x: self.a(x) + 1.0,
        lambda self, x: torch.sigmoid(self.a(x)) * x,
        lambda self, x: self.b(self.a(x)),
        lambda self, x: torch.cat([x, self.a(x)], -1),  # a dense connection
        lambda self, x: self.a(x) + self.table,  # positions
    ],
    ids=["towers", "constant", "gate", "chain", "dense", "positions"],
)
def test_what_is_no_residual_sum_is_no_site(forward: Any) -> None:
    model = Written(forward, a=linear(), b=linear())
    model.table = nn.Parameter(torch.zeros(4))
    assert residual(model).joins == ()
    assert residual(model).unread == ()


@pytest.mark.parametrize(
    "add",
    [operator.add, operator.iadd, torch.add, lambda x, y: x.add(y), lambda x, y: y.add_(x), lambda x, y: 0.5 * x + y],
    ids=["+", "+=", "torch.add", "add", "add_", "scaled skip"],
)
def test_every_way_to_add_is_seen(add: Any) -> None:
    assert paths(Written(lambda self, x: add(x, self.a(x)), a=linear())) == ["a"]


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        (lambda h: h.permute(0, 2, 1), True),
        (lambda h: torch.permute(h, (0, 2, 1)), True),
        (lambda h: h.permute(1, 0, 2), False),
        (lambda h: h.transpose(1, 2), True),
        (lambda h: h.transpose(0, 1), False),
        (lambda h: torch.transpose(h, 0, 2), False),
        (lambda h: h.reshape(6, 2, 2), False),  # rows may be merged
        (lambda h: -h.contiguous() * 0.1 / 2, True),
        (lambda h: 2 * h, True),
        (lambda h: 2 / h, False),
        (lambda h: h + 1.0, True),  # a constant is a term of the sum, not of the branch
        (lambda h: F.dropout(h, 0.1), True),
        (lambda h: F.softmax(h, -1), False),
        (lambda h: h.abs(), False),
    ],
)
def test_a_site_lies_before_what_only_scales_or_rearranges_rows(change: Any, passed: bool) -> None:
    model = Written(lambda self, x: x + change(self.a(x)), a=linear())
    assert paths(model) == (["a"] if passed else [])


def test_a_second_output_of_a_module_is_no_branch_end() -> None:
    model = Written(lambda self, x: x + self.a(x, x, x)[1], a=nn.MultiheadAttention(4, 2))
    assert paths(model) == []


def test_a_branch_that_ends_in_no_module_of_its_own_is_reported() -> None:
    function = Written(lambda self, x: x + F.relu(self.a(x)), a=linear())
    elsewhere = Written(lambda self, x: _used_twice(x, self.a(x)), a=linear())
    for model in (function, elsewhere):
        found = residual(model)
        assert found.joins == ()
        assert found.unread == ("the model (Written) has 1 residual branch that ends in no module of its own.",)


def _used_twice(x: Tensor, h: Tensor) -> Tensor:
    return (x + h) * h


def test_a_module_called_elsewhere_too_is_no_end() -> None:
    model = Written(lambda self, x: self.relu(x + self.relu(self.a(x))), a=linear(), relu=nn.ReLU())
    assert paths(model) == []
    assert len(residual(model).unread) == 1


def test_a_module_whose_every_call_ends_a_branch_is_one_site() -> None:
    model = Written(lambda self, x: (x + self.a(x)) + self.a(x + self.a(x)), a=linear())
    assert paths(Written(lambda self, x: self.twice(self.twice(x)), twice=model)) == ["twice.a"]


def test_a_forward_that_cannot_be_traced_is_named_with_the_way_out() -> None:
    found = residual(nn.Sequential(blocks.Dynamic(), blocks.Loop()))
    assert [join.owner for join in found.joins] == ["1", "1", "1"]
    (note,) = found.unread
    assert note.startswith("0 (Dynamic) could not be traced")
    assert "residual_branches = (" in note


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forwards_that_are_no_plain_method_are_traced_or_named() -> None:
    graph = fx.symbolic_trace(blocks.BasicBlock())
    assert paths(nn.Sequential(graph)) == ["0.bn2"]
    script = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    patched = nn.Sequential(nn.Linear(2, 2))
    patched.forward = lambda x: x + patched[0](x)  # type: ignore[method-assign]  # as some libraries do
    for model in (script, patched):
        assert residual(model).joins == ()
        assert "could not be traced" in residual(model).unread[0]


@pytest.mark.parametrize("declared", ["linear", ("lienar",), (1,), (("linear", 2),)])
def test_a_wrong_declaration_is_refused(declared: Any) -> None:
    block = blocks.Dynamic()
    block.residual_branches = declared
    with pytest.raises(ArgumentError, match=r"`Dynamic\.residual_branches` must be a tuple of names"):
        residual(block)


def test_an_empty_declaration_says_that_there_is_no_branch() -> None:
    model = Written(lambda self, x: x + self.a(x), a=linear())
    model.residual_branches = ()
    assert residual(model).joins == ()


def test_children_that_happen_to_have_the_name_of_the_declaration_are_left_alone() -> None:
    model = Written(lambda self, x: x + self.residual_branches(x), residual_branches=linear())
    assert paths(model) == ["residual_branches"]


def test_tracing_leaves_no_trace_in_the_module_or_the_generator() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.calls = linear(), 0
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.last = x
            self.seen.add_(1)
            return x + self.linear(x) + 0 * torch.randn(4)

    model = Counts()
    state = torch.get_rng_state()
    assert paths(model) == ["linear"]
    assert torch.equal(state, torch.get_rng_state())
    assert (model.calls, float(model.seen), hasattr(model, "last")) == (0, 0.0, False)
