"""`map_members` is `torch.vmap` without its checks."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from poise.core.mapped import map_members


class Pair(NamedTuple):
    inputs: Tensor
    weights: Tensor | None


def test_it_equals_vmap_on_nested_trees() -> None:
    tree = {"a": torch.randn(4, 3), "b": (torch.randn(4), [torch.randn(4, 2, 2)])}

    def function(tree: dict[str, object]) -> dict[str, object]:
        a, (b, (c,)) = tree["a"], tree["b"]  # type: ignore[misc]  # as built above
        return {"x": (a * b).sum(), "y": [c.exp() @ c, torch.ones(2)]}

    ours, theirs = map_members(function, 4, tree), torch.vmap(function)(tree)
    assert torch.equal(ours["x"], theirs["x"])
    assert torch.equal(ours["y"][0], theirs["y"][0])
    assert torch.equal(ours["y"][1], theirs["y"][1])


def test_named_tuples_keep_their_type_and_none_is_passed_on() -> None:
    found = map_members(lambda pair: pair._replace(inputs=pair.inputs + 1), 2, Pair(torch.zeros(2, 3), None))
    assert isinstance(found, Pair)
    assert found.weights is None
    assert found.inputs.tolist() == [[1.0] * 3] * 2


def test_gradients_pass_through() -> None:
    weights = torch.randn(3, 5, requires_grad=True)
    map_members(lambda w: w.square().sum(), 3, weights).sum().backward()
    assert weights.grad is not None
    assert torch.equal(weights.grad, 2 * weights.detach())


def test_it_nests_and_leaves_no_level_behind_after_an_error() -> None:
    def fails(_: Tensor) -> Tensor:
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        map_members(fails, 2, torch.zeros(2))
    inner = map_members(lambda row: map_members(lambda x: x * 2, 3, row), 2, torch.ones(2, 3))
    assert inner.tolist() == [[2.0] * 3] * 2


def test_what_is_no_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="must hold tensors; got a float"):
        map_members(lambda x: 1.0, 2, torch.zeros(2))
