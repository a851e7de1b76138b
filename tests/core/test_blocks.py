"""Blocks of tasks: the columns of each, with and without the columns that say whose label is known."""

import torch

from poise.core.blocks import Blocks


def test_spans_cover_all_outputs_in_order_without_overlap() -> None:
    blocks = Blocks((3, None, 2, None))
    columns = [column for first, past in blocks.spans for column in range(first, past)]
    assert columns == list(range(7))
    assert blocks.width == 7


def test_own_and_known_are_the_columns_for_any_leading_dimensions() -> None:
    blocks = Blocks((2, None), presence=True)
    targets = torch.arange(30.0).reshape(2, 3, 5)
    assert torch.equal(blocks.own(targets, 0), targets[..., :2])
    assert torch.equal(blocks.own(targets, 1), targets[..., 2:3])
    known = blocks.known(targets, 1)
    assert known is not None
    assert torch.equal(known, targets[..., 4])


def test_without_presence_every_label_is_known() -> None:
    assert Blocks((2, None)).known(torch.zeros(4, 3), 1) is None


def test_joined_keeps_the_presence_and_is_the_inverse_of_own() -> None:
    blocks, targets = Blocks((2, None), presence=True), torch.randn(4, 5)
    assert torch.equal(blocks.joined(targets, [blocks.own(targets, task) for task in range(2)]), targets)
    changed = blocks.joined(targets, [torch.zeros(4, 2), torch.ones(4, 1)])
    assert torch.equal(changed, torch.cat([torch.zeros(4, 2), torch.ones(4, 1), targets[:, 3:]], 1))
