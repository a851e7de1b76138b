"""What a run checks as it starts: that the loss which parts suppose is the one that the loop trains with."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import Adversarial, InputGradientPenalty, JacobianPenalty, PoiseWarning, Recipe
from poise.core.regularizer import Regularizer

X, LABELS = torch.linspace(-1, 1, 12).reshape(6, 2), (torch.arange(6.0) % 2)[:, None]
BINARY = F.binary_cross_entropy_with_logits


def first_step(part: Regularizer, loss: Callable[[Tensor, Tensor], Tensor], given: bool) -> list[str]:
    """The warnings of a first step whose loop trains with the loss; `given` says that the run knows of it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", PoiseWarning)
        torch.manual_seed(0)  # of some weights, both losses are the same
        run = Recipe(part).start(nn.Linear(2, 1), loss=loss if given else None)
        inputs, targets = run.batch(X, LABELS)
        outputs = run.model(inputs)
        run.objective(loss(outputs, targets), outputs=outputs)
    return [str(one.message) for one in said]


@pytest.mark.parametrize("part", [Adversarial(), InputGradientPenalty()])
def test_a_loss_that_parts_do_not_know_of_is_told(part: Regularizer) -> None:
    (said,) = first_step(part, BINARY, given=False)
    assert "squared error for numbers" in said
    assert "Write recipe.start(model, loss=yours)" in said
    assert first_step(part, BINARY, given=True) == []


def test_nothing_is_said_of_the_usual_loss_or_of_parts_that_ask_for_none() -> None:
    assert first_step(Adversarial(), F.mse_loss, given=False) == []
    assert first_step(JacobianPenalty(), BINARY, given=False) == []
