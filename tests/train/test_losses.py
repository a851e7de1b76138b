"""The losses equal torch's, weighted means equal repeated rows, and shapes that would broadcast are refused."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from poise import ArgumentError
from poise.core.context import Batch
from poise.train.losses import CrossEntropy, SquaredError, usual_loss

X = torch.empty(0)


def sample(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(shape or (12, 4), generator=generator, dtype=torch.float64)
    return outputs, torch.rand(shape or (12, 4), generator=generator, dtype=torch.float64).softmax(-1)


def test_cross_entropy_equals_torch_on_soft_targets() -> None:
    outputs, targets = sample()
    ours = CrossEntropy()(outputs, Batch(X, targets))
    assert torch.allclose(ours, F.cross_entropy(outputs, targets), rtol=1e-12, atol=0)


def test_class_weights_equal_torch_on_soft_targets() -> None:
    outputs, targets = sample()
    weights = torch.tensor([1.0, 0.5, 2.0, 3.0], dtype=torch.float64)
    ours = CrossEntropy(weights)(outputs, Batch(X, targets))
    assert torch.allclose(ours, F.cross_entropy(outputs, targets, weight=weights), rtol=1e-12, atol=0)


def test_smoothed_indices_equal_torchs_label_smoothing() -> None:
    outputs, _ = sample()
    classes = torch.arange(12) % 4
    smooth = 0.9 * F.one_hot(classes, 4).double() + 0.1 / 4
    theirs = F.cross_entropy(outputs, classes, label_smoothing=0.1)
    assert torch.allclose(CrossEntropy()(outputs, Batch(X, smooth)), theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(12, 4), (12, 12, 4)], ids=["rows", "sequences"])
@pytest.mark.parametrize("loss", [CrossEntropy(), SquaredError()])
def test_weight_two_is_the_row_twice_and_weight_zero_the_row_left_out(
    loss: CrossEntropy | SquaredError, shape: tuple[int, ...]
) -> None:
    outputs, targets = sample(*shape)
    weights = torch.tensor([2.0, 0.0, 1.0] * 4, dtype=torch.float64)
    rows = torch.repeat_interleave(torch.arange(12), weights.long())
    ours = loss(outputs, Batch(X, targets, weights))
    assert torch.allclose(ours, loss(outputs[rows], Batch(X, targets[rows])), rtol=1e-12, atol=0)


@pytest.mark.parametrize("loss", [CrossEntropy(), SquaredError()])
def test_rows_that_all_weigh_nothing_give_zero_and_no_gradient(loss: CrossEntropy | SquaredError) -> None:
    outputs, targets = sample()
    value = loss(outputs.requires_grad_(), Batch(X, targets, torch.zeros(12, dtype=torch.float64)))
    (grad,) = torch.autograd.grad(value, outputs)
    assert value == 0
    assert grad.abs().max() == 0


@pytest.mark.parametrize(("first", "second"), [((5, 1), (5,)), ((5,), (5,)), ((5,), (5, 1)), ((5, 1), (5, 1))])
def test_squared_error_takes_one_target_as_a_column_or_a_vector(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    outputs, targets = torch.arange(5.0).reshape(first), torch.ones(second)
    assert SquaredError()(outputs, Batch(X, targets)) == 3.0  # (1 + 0 + 1 + 4 + 9) / 5
    assert SquaredError()(outputs, Batch(X, targets, torch.tensor([1.0, 0, 0, 0, 1]))) == 5.0


def test_squared_error_averages_over_targets() -> None:
    assert SquaredError()(torch.zeros(2, 2), Batch(X, torch.tensor([[1.0, 1], [3, 3]]))) == 5.0


@pytest.mark.parametrize(("outputs", "targets"), [((4, 3), (4, 1)), ((4, 1), (4, 3)), ((4, 1), (1, 1)), ((4,), (3,))])
def test_shapes_that_would_broadcast_are_refused(outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match="must have outputs and targets of one shape"):
        SquaredError()(torch.zeros(outputs), Batch(X, torch.zeros(targets)))


def test_class_indices_are_refused_by_cross_entropy() -> None:
    with pytest.raises(ArgumentError, match="one_hot"):
        CrossEntropy()(torch.zeros(3, 3), Batch(X, torch.tensor([0, 1, 2])))


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8])
def test_class_indices_of_any_integers_have_torchs_cross_entropy(kind: torch.dtype) -> None:
    outputs, _ = sample()
    classes = torch.arange(12) % 4
    ours = usual_loss(outputs, Batch(X, classes.to(kind)), None)
    assert torch.allclose(ours, F.cross_entropy(outputs, classes), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("outputs", "targets", "got"),
    [
        (torch.zeros(2, 3), torch.tensor([0, -100]), r"outputs \(2, 3\) and \(2,\) classes from -100 to 0"),
        (torch.zeros(2, 1), torch.tensor([0, 0]), r"outputs \(2, 1\) and \(2,\) classes from 0 to 0"),
        (torch.zeros(2, 3), torch.tensor([[0], [1]]), r"outputs \(2, 3\) and \(2, 1\) classes from 0 to 1"),
        ({"a": torch.zeros(2, 1)}, {"a": torch.zeros(2)}, "a dict and a dict"),
    ],
)
def test_the_usual_loss_asks_for_yours_where_it_cannot_know_it(outputs: Any, targets: Any, got: str) -> None:
    with pytest.raises(ArgumentError, match=rf"`Recipe.start.loss` must be given .*; got {got}\. Write recipe.start"):
        usual_loss(outputs, Batch(X, targets), None)
