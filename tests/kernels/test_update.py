"""The update kernel against torch: AdamW, clipping by norm, and the lerp of an average."""

import ctypes
import math

import pytest
import torch

from poise.kernels import available
from poise.kernels.members import Segment, Update, run_jobs

pytestmark = pytest.mark.skipif(not available(), reason="the native kernels are not in use")

MEMBERS, SIZE, SPLIT = 3, 45, 30


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_five_steps_are_those_of_clipped_adamw_and_a_lerp() -> None:
    start = torch.randn(MEMBERS, SIZE)
    lr, rate, limit, gain = numbers(1e-2, 3e-2, 1e-3), numbers(0.0, 0.1, 1.0), numbers(0.5, 5.0, math.inf), 0.3
    ours, first, second, shadow = start.clone(), torch.zeros_like(start), torch.zeros_like(start), start.clone()
    segments = (Segment * 2)(Segment(0, SPLIT, 1, 0), Segment(SPLIT, SIZE, 0, 0))
    # float64 twins: the weights before SPLIT decay, the others do not
    twins = [[start[m, :SPLIT].double().requires_grad_(), start[m, SPLIT:].double().requires_grad_()] for m in range(3)]
    adams = [
        torch.optim.AdamW([{"params": twin[:1], "weight_decay": float(rate[m])},
                           {"params": twin[1:], "weight_decay": 0.0}], lr=float(lr[m]))
        for m, twin in enumerate(twins)
    ]  # fmt: skip
    averages = [torch.cat([w.detach() for w in twin]) for twin in twins]
    for step in range(5):
        grads = torch.randn(MEMBERS, SIZE)
        decay, corrected, gains = 1 - lr * rate, numbers(math.sqrt(1 - 0.999 ** (step + 1))), torch.full((3,), gain)
        moved = lr / (1 - 0.9 ** (step + 1))
        job = Update(
            parameters=SIZE, segments_count=2, segments=ctypes.addressof(segments), params=ours.data_ptr(),
            grads=grads.data_ptr(), first=first.data_ptr(), second=second.data_ptr(), shadow=shadow.data_ptr(),
            limit=limit.data_ptr(), decay=decay.data_ptr(), gain=gains.data_ptr(), lr=lr.data_ptr(),
            step=moved.data_ptr(), corrected=corrected.data_ptr(), new_first=0.1, keep_second=0.999, new_second=0.001,
            eps=1e-8,
        )  # fmt: skip
        run_jobs([("poise_update", job)], MEMBERS, 1, 1)
        for m, (twin, adam) in enumerate(zip(twins, adams, strict=True)):
            twin[0].grad, twin[1].grad = grads[m, :SPLIT].double(), grads[m, SPLIT:].double()
            torch.nn.utils.clip_grad_norm_(twin, float(limit[m]))
            adam.step()
            averages[m] = torch.lerp(averages[m], torch.cat([w.detach() for w in twin]), gain)
    for m, twin in enumerate(twins):
        torch.testing.assert_close(ours[m].double(), torch.cat([w.detach() for w in twin]), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(shadow[m].double(), averages[m], rtol=1e-5, atol=1e-6)


def test_the_threshold_cuts_to_exact_zeros_where_it_selects() -> None:
    weights = torch.tensor([[0.5, -0.5, 1e-4, 0.5]])
    grads, first, second = torch.zeros(1, 4), torch.zeros(1, 4), torch.ones(1, 4)
    segments = (Segment * 2)(Segment(0, 3, 0, 1), Segment(3, 4, 0, 0))
    lr, threshold, corrected = numbers(0.1), numbers(2.0), numbers(1.0)
    job = Update(
        parameters=4, segments_count=2, segments=ctypes.addressof(segments), params=weights.data_ptr(),
        grads=grads.data_ptr(), first=first.data_ptr(), second=second.data_ptr(), threshold=threshold.data_ptr(),
        lr=lr.data_ptr(), step=lr.data_ptr(), corrected=corrected.data_ptr(), new_first=0.1, keep_second=1.0,
        new_second=0.0, eps=0.0,
    )  # fmt: skip
    run_jobs([("poise_update", job)], 1, 1, 1)
    # threshold x lr / sqrt(v) = 2 x 0.1 / 1
    torch.testing.assert_close(weights, torch.tensor([[0.3, -0.3, 0.0, 0.5]]))
    assert float(weights[0, 2]) == 0.0


def test_a_gradient_that_is_not_finite_is_not_scaled_and_stays_with_its_member() -> None:
    weights, grads = torch.zeros(2, 3), torch.ones(2, 3)
    grads[0, 1] = torch.nan
    first, second = torch.zeros(2, 3), torch.zeros(2, 3)
    segments = (Segment * 1)(Segment(0, 3, 0, 0))
    lr, limit, corrected = numbers(0.1, 0.1), numbers(1e-3, 1e9), numbers(1.0)
    job = Update(
        parameters=3, segments_count=1, segments=ctypes.addressof(segments), params=weights.data_ptr(),
        grads=grads.data_ptr(), first=first.data_ptr(), second=second.data_ptr(), limit=limit.data_ptr(),
        lr=lr.data_ptr(), step=lr.data_ptr(), corrected=corrected.data_ptr(), new_first=1.0, keep_second=0.0,
        new_second=1.0, eps=0.0,
    )  # fmt: skip
    run_jobs([("poise_update", job)], 2, 1, 1)
    assert torch.isnan(weights).tolist() == [[False, True, False], [False, False, False]]
    assert first[0, 0] == 1.0
