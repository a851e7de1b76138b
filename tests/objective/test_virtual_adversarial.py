"""Virtual adversarial training against the Fisher matrix's leading eigenvector, and a fixed direction's gradient."""

from typing import Any

import pytest
import torch
from torch import nn

from poise.core.errors import ArgumentError
from poise.objective import VirtualAdversarial
from poise.objective.rows import divergence
from poise.testing import check_regularizer


def curvature(step: Any) -> torch.Tensor:
    """J' (diag p - p p') J of each row: the Hessian of KL(p(x) || p(x + r)) at r = 0."""
    found = []
    for row in step.inputs:
        J = torch.func.jacrev(lambda x: step.context().forward(x[None])[0])(row)
        p = step.context().forward(row[None])[0].softmax(-1)
        found.append(J.T @ (torch.diag(p) - torch.outer(p, p)) @ J)
    return torch.stack(found)


def asked_for(step: Any, part: VirtualAdversarial) -> list[torch.Tensor]:
    """The inputs of each forward pass that the part makes."""
    ctx, seen = step.context(), []

    def forward(inputs: torch.Tensor, draw: int = 0) -> torch.Tensor:
        seen.append(inputs)
        return ctx.forward(inputs, draw)

    step.but(facts={"forward": forward}).term(part)
    return seen


def test_it_passes_the_battery() -> None:
    report = check_regularizer(VirtualAdversarial(0.3, epsilon=0.4, iterations=2))
    assert report.count >= 20
    assert report.not_applicable["gradient"].startswith("the direction is held constant")


def test_a_small_move_costs_half_the_largest_eigenvalue_of_the_fisher_matrix(step: Any) -> None:
    largest = torch.linalg.eigvalsh(curvature(step))[:, -1]
    found = step.term(VirtualAdversarial(1.0, epsilon=1e-4, iterations=200)) / (0.5 * 1e-8)
    torch.testing.assert_close(found, largest.mean(), rtol=1e-3, atol=0)
    random = step.term(VirtualAdversarial(1.0, epsilon=1e-4)) / (0.5 * 1e-8)  # one iteration is not there yet
    assert float(random) < float(largest.mean())


def test_the_move_has_length_epsilon_along_the_leading_eigenvector(step: Any) -> None:
    move = asked_for(step, VirtualAdversarial(1.0, epsilon=0.3, iterations=200))[-1] - step.inputs
    torch.testing.assert_close(move.norm(dim=1), torch.full((5,), 0.3, dtype=torch.float64), rtol=1e-12, atol=0)
    leading = torch.linalg.eigh(curvature(step))[1][:, :, -1]
    torch.testing.assert_close((move * leading).sum(1).abs(), move.norm(dim=1), rtol=1e-6, atol=0)


def test_an_iteration_is_a_product_with_the_fisher_matrix(step: Any) -> None:
    one, two = (asked_for(step, VirtualAdversarial(epsilon=1.0, iterations=k))[-1] - step.inputs for k in (1, 2))
    expected = torch.einsum("nij,nj->ni", curvature(step), one)
    torch.testing.assert_close(two, expected / expected.norm(dim=1, keepdim=True), rtol=1e-10, atol=1e-12)


def test_for_one_linear_number_it_is_the_squared_length_of_the_weights(regression: Any) -> None:
    """Of w x + b the worst move of length e is along w, whatever the start: (e |w|)^2."""
    model = nn.Linear(4, 1).double()
    alone = regression.but(module=model, targets=regression.targets[:, :1])
    expected = 0.25 * model.weight.detach().square().sum()
    torch.testing.assert_close(alone.term(VirtualAdversarial(1.0, epsilon=0.5)), expected, rtol=1e-12, atol=0)


def test_the_gradient_is_that_of_the_divergence_at_a_fixed_move_from_a_fixed_prediction(step: Any) -> None:
    part = VirtualAdversarial(0.7, epsilon=0.5)
    there = asked_for(step, part)[-1].detach()
    fixed = step.context().outputs

    def expected(params: dict[str, torch.Tensor]) -> torch.Tensor:
        ctx = step.context(params)
        return 0.7 * divergence(fixed, ctx.forward(there), ctx).mean()

    found = step.gradient(part)
    for name, g in torch.func.grad(expected)(step.params).items():
        torch.testing.assert_close(found[name], g, rtol=1e-11, atol=1e-14)


def test_labels_do_not_matter_and_rows_count_by_their_weights(step: Any) -> None:
    part = VirtualAdversarial(1.0, epsilon=0.5)
    assert torch.equal(step.but(targets=step.targets.flip(0)).term(part), step.term(part))
    first = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    there = asked_for(step, part)[-1]
    ctx = step.context()
    each = divergence(ctx.outputs, ctx.forward(there), ctx)
    torch.testing.assert_close(step.but(weights=first).term(part), each[0], rtol=1e-12, atol=0)


def test_inputs_that_nothing_depends_on_cost_nothing(step: Any) -> None:
    params = {name: torch.zeros_like(w) for name, w in step.params.items()}
    assert float(step.term(VirtualAdversarial(1.0, epsilon=0.5), params)) == 0


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2"])
def test_iterations_must_be_a_positive_int(value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`VirtualAdversarial.iterations` must be an int >= 1; got"):
        VirtualAdversarial(iterations=value)
