"""The confidence penalty against torch's entropy, and label smoothing as the same divergence the other way."""

from typing import Any

import pytest
import torch
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F

from poise.core.blocks import Blocks
from poise.core.errors import ArgumentError
from poise.objective import ConfidencePenalty
from poise.testing import check_regularizer


def test_it_passes_the_battery() -> None:
    assert check_regularizer(ConfidencePenalty(0.3)).count >= 19


def test_it_is_minus_the_mean_entropy(step: Any) -> None:
    entropy = Categorical(logits=step.context().outputs).entropy()
    torch.testing.assert_close(step.term(ConfidencePenalty(0.3)), -0.3 * entropy.mean(), rtol=1e-12, atol=0)


def test_rows_count_by_their_weights(step: Any) -> None:
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    entropy = Categorical(logits=step.context().outputs).entropy()
    expected = -0.3 * (weights * entropy).sum() / weights.sum()
    torch.testing.assert_close(step.but(weights=weights).term(ConfidencePenalty(0.3)), expected, rtol=1e-12, atol=0)


def test_it_and_label_smoothing_are_the_two_directions_of_one_divergence(step: Any) -> None:
    """Pereyra 2017: smoothing adds KL(uniform || p), the penalty KL(p || uniform), each up to a constant."""
    logits = step.context().outputs
    uniform, p = Categorical(logits=torch.zeros_like(logits)), Categorical(logits=logits)
    log_k = torch.log(torch.tensor(3.0, dtype=torch.float64))
    penalty = step.term(ConfidencePenalty(0.2))
    torch.testing.assert_close(penalty, 0.2 * (kl_divergence(p, uniform).mean() - log_k), rtol=1e-12, atol=1e-14)
    plain, smooth = (F.cross_entropy(logits, step.targets, label_smoothing=e) for e in (0.0, 0.2))
    other = 0.8 * plain + 0.2 * (kl_divergence(uniform, p).mean() + log_k)
    torch.testing.assert_close(smooth, other, rtol=1e-12, atol=1e-14)


def test_it_is_least_at_equal_logits_where_its_gradient_is_zero(step: Any) -> None:
    params = {name: torch.zeros_like(w) for name, w in step.params.items()}
    assert float(step.term(ConfidencePenalty(1.0), params)) == pytest.approx(-1.0986122886681098)
    found = torch.func.grad(lambda params: step.term(ConfidencePenalty(1.0), params))(params)
    assert all(float(g.abs().max()) < 1e-15 for g in found.values())


def test_of_several_tasks_those_with_classes_count(step: Any) -> None:
    logits = step.context().outputs
    several = step.but(classes=None, facts={"blocks": Blocks((2, None))})
    expected = -Categorical(logits=logits[:, :2]).entropy().mean()
    torch.testing.assert_close(several.term(ConfidencePenalty(1.0)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("facts", "got"),
    [
        ({"outputs": torch.zeros(5, 1)}, r"shape \(5, 1\)"),
        ({"outputs": torch.zeros(5)}, r"shape \(5,\)"),
        ({"outputs": None}, "got none"),
        ({"outputs": [torch.zeros(5, 2)]}, "got a list"),
        ({"outputs": {"a": torch.zeros(5, 2)}}, "outputs of tasks a"),
        ({"blocks": Blocks((None, None, None))}, r"shape \(5, 3\)"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(step: Any, facts: dict[str, Any], got: str) -> None:
    ctx = step.but(facts=facts).context()
    with pytest.raises(ArgumentError, match=rf"`ConfidencePenalty` must see .*{got}"):
        ConfidencePenalty(1.0).objective({}, {}, ctx)
