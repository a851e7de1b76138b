"""The effective step of torch's optimizers is the step that a constant gradient ends up with."""

from typing import Any

import pytest
import torch

from poise.train.scale import effective_step

CASES: list[Any] = [
    lambda p: torch.optim.SGD(p, lr=0.1),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    lambda p: torch.optim.Adam(p, lr=0.1, eps=1e-2),
    lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0, amsgrad=True),
    lambda p: torch.optim.RMSprop(p, lr=0.1),
    lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.01),
]


@pytest.mark.parametrize("make", CASES)
def test_step_over_gradient_after_many_equal_gradients(make: Any) -> None:
    weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = make([weight])
    grad = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)
    for _ in range(3000):
        before = weight.detach().clone()
        weight.grad = grad.clone()
        optimizer.step()
    scale = effective_step(optimizer, optimizer.param_groups[0], weight)
    assert scale.shape == weight.shape
    assert torch.allclose(before - weight.detach(), scale * grad, rtol=1e-2)
