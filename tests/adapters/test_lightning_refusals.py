"""What the Lightning callback refuses, before or as soon as it can know."""

from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from poise import L2, ArgumentError, Patience, Recipe, Sam
from poise.adapters.lightning import Regularize


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": L2(1e-3)}, "must be a Recipe"),
        ({"recipe": Recipe(Patience(3))}, "must name the metric that patience watches"),
        ({"mode": "lower"}, "must be 'min' or 'max'"),
        ({"batch": len}, "must be two functions"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Regularize(**({"recipe": Recipe()} | arguments))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"module": "nett"}, {}, "path of a submodule, like one of \\['net'\\]"),
        ({"recipe": Recipe(Patience(3)), "monitor": "loss"}, {}, "one of \\['val_accuracy', 'val_loss'\\]; got 'loss'"),
        ({"recipe": Recipe(Sam(0.1))}, {"accumulate_grad_batches": 2}, "must be 1, because sam repeats"),
    ],
)
def test_wrong_settings_are_refused(
    arguments: Any, options: Any, message: str, light: Any, rows: TensorDataset
) -> None:
    callback = Regularize(**({"recipe": Recipe()} | arguments))
    with pytest.raises(ArgumentError, match=message):
        light.fit(light.Module(), light.trainer(callback, epochs=1, **options), rows)


def test_an_optimizer_that_repeats_its_closure_is_refused(light: Any, rows: TensorDataset) -> None:
    module = light.Module(torch.optim.LBFGS)
    with pytest.raises(ArgumentError, match="LBFGS repeats it"):
        light.fit(module, light.trainer(Regularize(Recipe())), rows)


def test_two_optimizers_are_refused(light: Any, rows: TensorDataset) -> None:
    class Two(light.Module):
        automatic_optimization = False

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), lr=0.1), torch.optim.SGD(self.parameters(), lr=0.1)]

    with pytest.raises(ArgumentError, match="must have one optimizer to act around; got 2"):
        light.fit(Two(), light.trainer(Regularize(Recipe())), rows)


def test_a_callback_serves_one_fit(light: Any, rows: TensorDataset) -> None:
    module, callback = light.Module(), Regularize(Recipe())
    light.fit(module, light.trainer(callback, epochs=1), rows)
    with pytest.raises(ArgumentError, match="must be new for each fit"):
        light.fit(module, light.trainer(callback, epochs=1), rows)
