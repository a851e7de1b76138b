"""The flat optimizers are torch's, for every member with its own learning rate."""

from typing import Any

import pytest
import torch

from poise.train.optimizers import Adam, Flat, Optimizer, Sgd

RATES = [1e-3, 0.1, 0.02]
CASES: list[tuple[Optimizer, Any]] = [
    (Sgd(), lambda p, lr: torch.optim.SGD(p, lr=lr)),
    (Sgd(momentum=0.9), lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)),
    (Adam(), lambda p, lr: torch.optim.Adam(p, lr=lr, foreach=False)),
    (Adam(betas=(0.8, 0.95), eps=1e-4), lambda p, lr: torch.optim.Adam(p, lr=lr, betas=(0.8, 0.95), eps=1e-4)),
]


def walk(ours: Optimizer, theirs: Any, dtype: torch.dtype, steps: int) -> float:
    """The largest relative distance after the same gradients."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 11, generator=generator, dtype=dtype)
    flat = Flat(start.clone(), {"w": torch.Size([2, 4]), "b": torch.Size([3])})
    state, lr = ours.start(flat), torch.tensor(RATES, dtype=torch.float64)
    alone = [start[i].clone().requires_grad_() for i in range(3)]
    others = [theirs([p], rate) for p, rate in zip(alone, RATES, strict=True)]
    for done in range(steps):
        grads = torch.randn(3, 11, generator=generator, dtype=dtype)
        ours.step(flat, grads, state, lr, done)
        for p, other, grad in zip(alone, others, grads, strict=True):
            p.grad = grad.clone()
            other.step()
    expected = torch.stack([p.detach() for p in alone])
    return float(((flat.data - expected).abs() / expected.abs().clamp(min=1)).max())


@pytest.mark.parametrize(("ours", "theirs"), CASES)
def test_300_steps_equal_torch_in_float64(ours: Optimizer, theirs: Any) -> None:
    assert walk(ours, theirs, torch.float64, 300) <= 1e-12


def test_adam_equals_torch_bit_for_bit_in_float32() -> None:
    assert walk(CASES[2][0], CASES[2][1], torch.float32, 100) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ours", [Sgd(), Sgd(momentum=0.5), Adam()])
def test_the_scale_is_the_step_of_a_constant_gradient_in_the_weights_dtype(ours: Optimizer, dtype: torch.dtype) -> None:
    flat = Flat(torch.zeros(2, 3, dtype=dtype), {"w": torch.Size([3])})
    state, lr = ours.start(flat), torch.tensor([0.1, 0.01], dtype=torch.float64)
    grads = torch.tensor([[1.0, -2.0, 4.0]] * 2, dtype=dtype)
    for done in range(400):
        before = flat.data.clone()
        ours.step(flat, grads, state, lr, done)
        scale = ours.scale(flat, state, lr, done)
    assert scale.dtype == dtype
    assert torch.allclose(before - flat.data, scale * grads, rtol=1e-3)


def test_views_write_to_the_population_and_gather_is_their_inverse() -> None:
    values = {"a": torch.randn(2, 3, 4), "b": torch.randn(2), "c": torch.randn(2, 0)}
    flat = Flat.of(values)
    assert flat.data.shape == (2, 13)
    assert all(torch.equal(view, values[name]) for name, view in flat.views().items())
    assert torch.equal(flat.gather(values), flat.data)
    flat.views()["b"][1] = 7.0
    assert flat.data[1, 12] == 7.0
    flat.set({**flat.views(), "a": torch.zeros(2, 3, 4)})
    assert flat.data[:, :12].abs().sum() == 0
    assert flat.select(torch.tensor([1])).views()["b"].tolist() == [7.0]
