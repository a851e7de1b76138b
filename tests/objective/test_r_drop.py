"""R-Drop against SciPy's divergence, at no dropout, and against what dropout in a linear model must cost."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from scipy.stats import entropy
from torch import Tensor, nn

from poise import Dropout, PoiseWarning, Recipe
from poise.core.errors import ArgumentError
from poise.kernels.library import native
from poise.models.tabular import Mlp
from poise.objective import RDrop
from poise.testing import check_regularizer
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows
from poise.train.replay import forward_again


def second(outputs: Tensor) -> dict[str, Any]:
    """A forward pass that answers as given at draw 1, and may not be asked for another."""

    def forward(inputs: Tensor, draw: int = 0) -> Tensor:
        assert draw == 1
        return outputs

    return {"forward": forward}


def test_it_passes_the_battery() -> None:
    assert check_regularizer(RDrop(0.3)).count >= 19


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_mean_of_both_divergences(step: Any, weighted: bool) -> None:
    first, other = step.context().outputs, step.context().outputs.flip(0) * 1.7
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], dtype=torch.float64) if weighted else None
    p, q = first.softmax(-1).numpy(), other.softmax(-1).numpy()
    each = torch.from_numpy(0.5 * (entropy(p, q, axis=1) + entropy(q, p, axis=1)))
    expected = each.mean() if weights is None else (weights * each).sum() / weights.sum()
    found = step.but(weights=weights, facts=second(other)).term(RDrop(0.3))
    torch.testing.assert_close(found, 0.3 * expected, rtol=1e-10, atol=1e-14)


def test_for_numbers_it_is_the_squared_difference(regression: Any) -> None:
    first, other = regression.context().outputs, regression.context().outputs.flip(0)
    found = regression.but(facts=second(other)).term(RDrop(0.3))
    torch.testing.assert_close(found, 0.3 * (first - other).square().mean(), rtol=1e-12, atol=0)


def test_both_passes_get_a_gradient(step: Any) -> None:
    first = step.context().outputs.clone().requires_grad_()
    other = first.detach().flip(0).requires_grad_()
    ctx = step.but(facts={"outputs": first} | second(other)).context()
    RDrop(1.0).objective({}, {}, ctx)[0]["r_drop"].backward()
    assert bool(first.grad.any())
    assert bool(other.grad.any())


def trained(recipe: Recipe) -> Tensor:
    """The weights of a population of two after three steps."""
    generator = torch.Generator().manual_seed(0)
    data = Rows(torch.randn(20, 4, generator=generator), torch.eye(3)[torch.arange(20) % 3])
    members = Population(lambda: Mlp(4, 3, width=8, depth=1), recipe, CrossEntropy(), lr=[1e-2] * 2, seed=1, classes=3)
    members.train(data, 3, 10)
    return members.state.flat.data


def loop(recipe: Recipe) -> float:
    torch.manual_seed(0)
    run = recipe.start(Mlp(4, 3, width=8, depth=1))
    x, y = run.batch(torch.randn(10, 4), torch.arange(10) % 3)
    out = run.model(x)
    run.objective(nn.functional.cross_entropy(out, y), outputs=out)
    return float(run.terms["r_drop"])


def test_without_dropout_it_is_exactly_zero_and_with_dropout_it_is_not() -> None:
    with pytest.warns(PoiseWarning, match="r_drop has no effect"):
        assert loop(Recipe(RDrop(1.0))) == 0
    assert loop(Recipe(RDrop(1.0), Dropout(0.0))) == 0
    assert loop(Recipe(RDrop(1.0), Dropout(0.3))) > 1e-4


def test_in_a_population_too_it_changes_training_only_with_dropout() -> None:
    with native(False):  # the part has no kernel, and a population without it would go the other way
        for dropout, same in ((0.0, True), (0.3, False)):
            plain, added = (trained(Recipe(Dropout(dropout), RDrop(weight))) for weight in (0.0, 1.0))
            assert torch.equal(plain, added) == same


def disagreement(forward: Callable[[Tensor, int], Tensor], rows: int = 20_000) -> tuple[float, float]:
    """Mean and its standard error of (first - second)^2 over rows that are all one row."""
    x = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64).expand(rows, 3)
    gaps = (forward(x, 0) - forward(x, 1)).detach().square().flatten()
    return float(gaps.mean()), float(gaps.std()) / math.sqrt(rows)


def test_in_a_linear_model_it_is_twice_dropouts_variance_and_one_mask_for_both_is_caught() -> None:
    """E (first - second)^2 = 2 p / (1 - p) sum w^2 x^2: dropout's own penalty (Wager, Wang and Liang 2013), twice."""
    model = nn.Sequential(nn.Identity(), nn.PReLU(), nn.Linear(3, 1, bias=False)).double()
    nn.init.ones_(model[1].weight)  # an activation that does nothing, so that dropout meets the inputs
    run = Recipe(Dropout(0.3), RDrop(1.0)).start(model, seed=2)
    again = partial(forward_again, run.model, dict(model.named_parameters()))
    w = model[2].weight.detach()[0]
    expected = 2 * 0.3 / 0.7 * float((w.square() * torch.tensor([1.0, 4.0, 0.25])).sum())
    mean, error = disagreement(again)
    assert math.erfc(abs(mean - expected) / error / math.sqrt(2)) > 1e-6
    same, _ = disagreement(lambda x, draw: again(x, 0))
    assert math.erfc(abs(same - expected) / error / math.sqrt(2)) < 1e-6


def test_a_run_without_rows_or_outputs_is_told_so(step: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`RDrop` must see the rows; got none. Pass them: x, y = run.batch"):
        RDrop(1.0).objective({}, {}, step.but(facts={"batch": None}).context())
    with pytest.raises(ArgumentError, match=r"`RDrop` must see the network's outputs.*got none"):
        RDrop(1.0).objective({}, {}, step.but(facts={"outputs": None}).context())
