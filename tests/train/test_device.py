"""A population on another device: everything it touches in a step and an evaluation lies there, and it asks no value.

No GPU is at hand where these tests run. A fake tensor has a device and a shape but no values: an operation on tensors
of two devices raises, and so does reading a value, which on a GPU would make the step wait.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from poise import ArgumentError, Dropout
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.core.trees import leaves
from poise.train.optimizers import Adam, Flat
from poise.train.population import Rows

for _folder in sorted({*EVERY_STAGE} - {"shrink"}):
    importlib.import_module(f"poise.{_folder}")

KINDS = {key: kind for key, kind in sorted(Regularizer.registry.items()) if kind.__module__.startswith("poise.")}
OTHER = "lazy:0"  # a device that every build of torch knows fake tensors of; of a GPU only builds for it do


def score(outputs: Tensor, batch: Any) -> Tensor:
    return outputs.square().mean(dim=(1, 2))


@pytest.mark.usefixtures("seeded")
@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning")  # compared, never followed
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # torch's attention in evaluation
@pytest.mark.parametrize("key", KINDS)
def test_every_part_steps_and_is_evaluated_where_the_population_is(key: str, part_of: Any, population_of: Any) -> None:
    population, data = population_of(part_of(key), [0, 1, 2])
    with FakeTensorMode(allow_non_fake_inputs=True):
        population.to(OTHER)
        data = data.to(OTHER)
        terms = population.train(data, 2, 4)
        scores = population.evaluate(data, score)
        state = population.state
        owned = leaves([state.flat.data, state.buffers, state.optimizer, state.memory, state.averaged, state.keys])
        found = [*terms.values(), scores, population.best_score, population.stopped, *leaves(population.best), *owned]
        assert {tensor.device.type for tensor in found if tensor is not None} == {"lazy"}


def test_the_check_finds_a_tensor_that_was_left_behind(population_of: Any) -> None:
    population, data = population_of(Dropout(0.5), [0, 1])
    with FakeTensorMode(allow_non_fake_inputs=True):
        population.to(OTHER)
        population.state.optimizer["first"] = torch.zeros_like(population.state.flat.data, device="cpu")
        with pytest.raises(RuntimeError, match=r"devices,? cpu"):
            population.train(data.to(OTHER), 1, 4)


def test_rows_elsewhere_are_refused(population_of: Any) -> None:
    population, data = population_of(Dropout(0.5), [0, 1])
    there = Rows(torch.ones(4, 3, device="meta"), torch.ones(4, 1, device="meta"))
    for use in (lambda: population.train(there, 1, 4), lambda: population.evaluate(there, score)):
        with pytest.raises(ArgumentError, match=r"on its own device, cpu; got inputs on meta.*rows\.to\(device\)"):
            use()
    assert population.train(data.to("cpu"), 1, 4)["data"].shape == (2,)


def test_moved_to_where_it_is_a_population_goes_on_bit_for_bit(population_of: Any) -> None:
    (moved, data), (still, _) = population_of(Dropout(0.5), [0, 1]), population_of(Dropout(0.5), [0, 1])
    for one in (moved, still):
        one.train(data, 3, 4)
    moved.to("cpu")
    for one in (moved, still):
        one.train(data, 3, 4)
        one.evaluate(data, score)
    assert torch.equal(moved.state.flat.data, still.state.flat.data)
    assert torch.equal(moved.best_score, still.best_score)


def test_adams_step_of_all_members_at_once_is_that_of_each(seeded: Any) -> None:
    # What a GPU does, against what the CPU does, on the CPU: rounded in another order, so to 2 of the last bits.
    params = {"w": torch.randn(3, 4, 5, dtype=torch.float64)}
    one, all_at_once = Flat.of(params), Flat.of(params)
    adam, lr = Adam(betas=(0.9, 0.95)), torch.tensor([1e-3, 3e-2, 0.5], dtype=torch.float64)
    first, second = adam.start(one), adam.start(all_at_once)
    for done in range(50):
        grads = torch.randn(3, 20, dtype=torch.float64)
        adam.step(one, grads, first, lr, done)
        adam._step_at_once(all_at_once.data, grads, second, lr, done)
    torch.testing.assert_close(all_at_once.data, one.data, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(second, first, rtol=1e-14, atol=0)
