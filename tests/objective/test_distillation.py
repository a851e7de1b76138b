"""Distillation against torch's divergence, its limits in share and temperature, and a teacher that gets no gradient."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import Recipe
from poise.core.errors import ArgumentError
from poise.objective import Distillation
from poise.testing import check_regularizer


def taught(step: Any, answers: Tensor) -> Any:
    return step.but(facts={"teacher": lambda inputs: answers})


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Distillation(0.3, temperature=3.0)).count >= 21


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_it_is_torchs_divergence_in_place_of_a_share_of_the_loss(step: Any, share: float, temperature: float) -> None:
    logits, answers = step.context().outputs, 2 * step.context().outputs.flip(0)
    soft = F.kl_div(
        F.log_softmax(logits / temperature, -1), F.softmax(answers / temperature, -1), reduction="batchmean"
    )
    total = step.data() + taught(step, answers).term(Distillation(share, temperature=temperature))
    expected = (1 - share) * step.data() + share * temperature**2 * soft
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-14)


def test_rows_count_by_their_weights(step: Any) -> None:
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    logits, answers = step.context().outputs, 2 * step.context().outputs.flip(0)
    each = F.kl_div(logits.log_softmax(-1), answers.softmax(-1), reduction="none").sum(-1)
    here = taught(step, answers).but(weights=weights)
    total = here.data() + here.term(Distillation(1.0, temperature=1.0))
    torch.testing.assert_close(total, (weights * each).sum() / weights.sum(), rtol=1e-12, atol=1e-14)


def test_a_student_that_answers_as_its_teacher_has_no_gradient_at_share_one(step: Any) -> None:
    here = taught(step, step.context().outputs)

    def total(params: dict[str, Tensor]) -> Tensor:
        return here.data(params) + here.term(Distillation(1.0), params)

    assert all(float(g.abs().max()) < 1e-15 for g in torch.func.grad(total)(step.params).values())


def test_at_a_high_temperature_it_matches_logits(step: Any) -> None:
    """Hinton 2015, section 2.1: for T large T^2 KL tends to |z - t|^2 / (2 K) of logits without their mean."""
    logits, answers = step.context().outputs, 2 * step.context().outputs.flip(0)
    gap = (logits - logits.mean(-1, keepdim=True)) - (answers - answers.mean(-1, keepdim=True))
    total = step.data() + taught(step, answers).term(Distillation(1.0, temperature=1e4))
    torch.testing.assert_close(total, gap.square().sum(-1).mean() / 6, rtol=1e-3, atol=0)


def test_for_numbers_it_is_the_squared_error_from_the_teacher_at_any_temperature(regression: Any) -> None:
    outputs, answers = regression.context().outputs, regression.context().outputs.flip(0)
    total = regression.data() + taught(regression, answers).term(Distillation(1.0, temperature=7.0))
    torch.testing.assert_close(total, (outputs - answers).square().mean(), rtol=1e-12, atol=1e-14)


def test_all_tasks_losses_make_room() -> None:
    from poise.core.context import Batch, Context
    from poise.core.rng import Rng, key

    x = torch.tensor([[1.0, 2.0]])
    ctx = Context(0, Rng(key(0)), batch=Batch(x, x), outputs=x, teacher=lambda x: x)
    terms, _ = Distillation(0.5).objective({"data/a": torch.tensor(3.0), "data/b": torch.tensor(1.0)}, {}, ctx)
    assert float(terms["distillation"]) == -2.0


def test_in_a_run_the_teacher_gets_no_gradient_and_is_missed_if_absent() -> None:
    torch.manual_seed(0)
    student, teacher = nn.Linear(3, 2), nn.Linear(3, 2)
    with pytest.raises(ArgumentError, match="teacher"):
        Recipe(Distillation()).start(student)
    run = Recipe(Distillation(1.0)).start(student, teacher=teacher)
    x, y = run.batch(torch.randn(5, 3), torch.arange(5) % 2)
    out = run.model(x)
    run.objective(F.cross_entropy(out, y), outputs=out).backward()
    assert teacher.weight.grad is None
    assert bool(student.weight.grad.any())
