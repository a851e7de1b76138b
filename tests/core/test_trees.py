"""Trees of tensors are stacked, chosen from and mixed leaf by leaf."""

from __future__ import annotations

import torch

from poise.core.trees import map_tree, select_members, stack_trees, where_members


def tree(start: float) -> dict[str, object]:
    return {"a": torch.tensor(start), "b": [torch.full((2,), start + 1), (torch.full((1, 2), start + 2),)]}


def test_stacked_trees_give_back_their_members() -> None:
    stacked = stack_trees([tree(0.0), tree(10.0), tree(20.0)])
    assert stacked["b"][1][0].shape == (3, 1, 2)
    chosen = select_members(stacked, torch.tensor([2, 0]))
    assert chosen["a"].tolist() == [20.0, 0.0]
    assert chosen["b"][0].tolist() == [[21.0, 21.0], [1.0, 1.0]]


def test_where_members_chooses_by_member_in_every_leaf() -> None:
    first, second = stack_trees([tree(0.0)] * 2), stack_trees([tree(10.0)] * 2)
    mixed = where_members(torch.tensor([True, False]), first, second)
    assert mixed["a"].tolist() == [0.0, 10.0]
    assert mixed["b"][1][0].tolist() == [[[2.0, 2.0]], [[12.0, 12.0]]]


def test_map_tree_joins_trees_of_one_form() -> None:
    assert map_tree(torch.add, tree(1.0), tree(2.0))["b"][0].tolist() == [5.0, 5.0]


def test_empty_trees_stay_empty() -> None:
    assert stack_trees([{}, {}]) == {}
    assert select_members({"part": {}}, torch.tensor([0])) == {"part": {}}
