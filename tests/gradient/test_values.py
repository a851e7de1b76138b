"""Edits of gradients, dense and sparse: a sparse one gives what its dense form gives in the rows that occur."""

import torch

from poise.gradient.values import common_norm, map_values, rows_like, values_of


def sparse() -> torch.Tensor:
    """Rows 4, 1 and 4 again, of six."""
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    return torch.sparse_coo_tensor([[4, 1, 4]], values, (6, 2), check_invariants=True)


def test_an_edit_of_values_is_that_of_the_dense_gradient() -> None:
    found = map_values(torch.square, sparse())
    assert found.is_sparse
    assert found.is_coalesced()
    assert torch.equal(found.to_dense(), sparse().to_dense().square())
    assert torch.equal(map_values(torch.square, sparse().to_dense()), sparse().to_dense().square())


def test_the_common_norm_sums_repeated_rows_first() -> None:
    dense = torch.tensor([3.0, 4.0], dtype=torch.float64)
    expected = torch.cat([sparse().to_dense().flatten().double(), dense]).norm()
    torch.testing.assert_close(common_norm([sparse(), dense]), expected)


def test_weights_are_those_of_the_rows_that_occur() -> None:
    weight = torch.arange(12.0).reshape(6, 2)
    assert torch.equal(rows_like(weight, sparse()), weight[[1, 4]])
    assert rows_like(weight, weight) is weight
    assert torch.equal(values_of(sparse()), torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
