"""The callback against plain Lightning, and against a recipe in a loop of one's own on the same batches."""

import warnings
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateFinder
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from poise import (
    L2,
    ArgumentError,
    BatchNorm,
    Decay,
    Dropout,
    Ema,
    LabelSmoothing,
    Mixup,
    PcGrad,
    Recipe,
    Sam,
)
from poise.adapters.lightning import Regularize

# What `usual` is made of fights on purpose: L2 and Decay are both in it.
pytestmark = pytest.mark.filterwarnings("ignore:l2 and decay both shrink:poise.PoiseWarning")


def adamw(params: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=1e-2, weight_decay=0.0)


def test_an_empty_recipe_is_plain_lightning_bit_for_bit(light: Any, rows: TensorDataset) -> None:
    plain, ours = light.Module(), light.Module()
    light.fit(plain, light.trainer(), rows)
    light.fit(ours, light.trainer(Regularize(Recipe())), rows)
    assert not light.differing(plain.state_dict(), ours.state_dict())


@pytest.mark.parametrize(
    ("options", "loop"),
    [
        ({}, {}),
        ({"accumulate_grad_batches": 5}, {"parts": 5}),
        ({"gradient_clip_val": 0.1}, {"clip": 0.1}),
        ({"precision": "bf16-mixed"}, {"bf16": True}),
    ],
    ids=["plain", "accumulated", "clipped", "bfloat16"],
)
def test_fifty_batches_are_those_of_the_own_loop_bit_for_bit(
    options: Any, loop: Any, light: Any, rows: TensorDataset
) -> None:
    module = light.Module()
    callback = Regularize(light.usual(), module="net", restore=False)
    light.fit(module, light.trainer(callback, **options), rows)
    run = light.usual().start(light.network())
    light.own_loop(run, adamw(run.model.parameters()), rows, **loop)
    assert not light.differing(module.net.state_dict(), run.model.state_dict())
    assert not light.differing(callback.run.state_dict(), run.state_dict())


def test_a_part_that_repeats_the_step_equals_the_own_loop(light: Any, rows: TensorDataset) -> None:
    module, logged = light.Module(), []
    module.log = lambda *what, **how: logged.append(what)
    light.fit(module, light.trainer(Regularize(Recipe(Sam(0.05)), module="net"), epochs=2, limit_val_batches=0), rows)
    run = Recipe(Sam(0.05)).start(light.network())
    optimizer = adamw(run.model.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for step in range(10):
        batch = torch.arange(light.ROWS).split(8)[step % 5]

        def closure(batch: Any = batch) -> Any:
            x, y = run.batch(*rows[batch])
            loss = run.objective(F.cross_entropy(run.model(x), y))
            loss.backward()
            return loss

        run.step(optimizer, closure)
        schedule.step()
    assert not light.differing(module.net.state_dict(), run.model.state_dict())


def test_a_dict_of_results_keeps_its_other_entries(light: Any, rows: TensorDataset) -> None:
    class Dict(light.Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": super().training_step(batch, batch_idx), "rows": len(batch[0])}

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            assert outputs["rows"] == 8

    plain, with_dict = light.Module(), Dict()
    for module in (plain, with_dict):
        light.fit(module, light.trainer(Regularize(light.usual()), epochs=2), rows)
    assert not light.differing(plain.state_dict(), with_dict.state_dict())


def test_losses_of_several_tasks_are_a_dict(light: Any, rows: TensorDataset) -> None:
    class Two(light.Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            outputs = self(batch[0])
            return {"loss": {"classes": F.cross_entropy(outputs, batch[1]), "size": outputs.square().mean()}}

    module = Two()
    light.fit(module, light.trainer(Regularize(Recipe(PcGrad()), module="net"), epochs=2), rows)
    run = Recipe(PcGrad()).start(light.network())
    optimizer = adamw(run.model.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for step in range(10):
        x, y = run.batch(*rows[torch.arange(light.ROWS).split(8)[step % 5]])
        outputs = run.model(x)
        losses = {"classes": F.cross_entropy(outputs, y), "size": outputs.square().mean()}
        run.objective(losses, outputs=outputs).backward()
        run.update(optimizer)
        schedule.step()
    assert not light.differing(module.net.state_dict(), run.model.state_dict())


def test_layers_are_inserted_after_configure_model_and_before_the_optimizer(light: Any, rows: TensorDataset) -> None:
    class Late(light.Module):
        def __init__(self) -> None:
            super().__init__()
            del self.net

        def configure_model(self) -> None:
            self.net = light.network()
            self.net[1] = torch.nn.Identity()

    module = Late()
    callback = Regularize(Recipe(BatchNorm()), module="net", restore=False)
    light.fit(module, light.trainer(callback, epochs=1), rows)
    own = [name for name in callback.run.roles if "poise_batch_norm" in name]
    named = dict(module.net.named_parameters())
    assert len(own) == 2
    assert all(bool((named[name] != named[name].round()).all()) for name in own)  # no longer the ones and zeros


def test_manual_optimization_equals_automatic(light: Any, rows: TensorDataset) -> None:
    class Manual(light.Module):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            run, optimizer = Regularize.of(self.trainer), self.optimizers()
            x, y = run.batch(*batch)
            outputs = self(x)
            optimizer.zero_grad()
            self.manual_backward(run.objective(F.cross_entropy(outputs, y), outputs=outputs))
            optimizer.step()
            self.lr_schedulers().step()

    modules = light.Module(), Manual()
    for module in modules:
        light.fit(module, light.trainer(Regularize(light.usual())), rows)
    assert not light.differing(modules[0].state_dict(), modules[1].state_dict())


def test_a_step_that_overflows_in_half_precision_is_left_out_whole(light: Any, rows: TensorDataset) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60, growth_interval=1000)
    module, callback = light.Module(), Regularize(Recipe(Decay(0.5), Ema(0.9)), restore=False)
    taken: list[torch.Tensor] = []

    class Weights(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            taken.append(module.net[0].weight.detach().clone())

    before = module.net[0].weight.detach().clone()
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")  # Lightning steps it all the same
        light.fit(module, light.trainer(callback, Weights(), epochs=20, plugins=[plugin]), rows)
    skipped = sum(bool(torch.equal(a, b)) for a, b in zip([before, *taken], taken, strict=False))
    assert 5 < skipped < 80
    assert callback.run.step_number == 100 - skipped
    assert torch.equal(taken[0], before)  # not even decayed


def test_a_step_that_returns_nothing_is_left_out(light: Any, rows: TensorDataset) -> None:
    class Picky(light.Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx == 2 else super().training_step(batch, batch_idx)

    callback = Regularize(light.usual())
    with pytest.warns(UserWarning, match="returned `None`"):
        light.fit(Picky(), light.trainer(callback, epochs=2), rows)
    assert callback.run.step_number == 8


def test_terms_are_logged(light: Any, rows: TensorDataset) -> None:
    callback = Regularize(Recipe(L2(1e-2)))
    trainer = light.trainer(callback, epochs=1)
    light.fit(light.Module(), trainer, rows)
    assert trainer.callback_metrics["poise/l2"] == callback.run.terms["l2"]
    assert "poise/data" not in trainer.callback_metrics


def test_batches_of_another_form_need_two_functions(light: Any, rows: TensorDataset) -> None:
    class Named(light.Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return F.cross_entropy(self(batch["x"]), batch["y"])

    def collate(items: Any) -> dict[str, torch.Tensor]:
        x, y = torch.utils.data.default_collate(items)
        return {"x": x, "y": y}

    def put(batch: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
        return {"x": x, "y": y}

    recipe = Recipe(Mixup(0.4), LabelSmoothing(0.1))
    modules = light.Module(), Named()
    light.fit(modules[0], light.trainer(Regularize(recipe)), rows)
    both = (lambda batch: (batch["x"], batch["y"]), put)
    options = {"loader": DataLoader(rows, 8, collate_fn=collate)}
    light.fit(modules[1], light.trainer(Regularize(recipe, batch=both)), rows, **options)
    assert not light.differing(modules[0].state_dict(), modules[1].state_dict())
    with pytest.raises(ArgumentError, match=r"because (mixup|label_smoothing), \w+ edits them"):
        light.fit(Named(), light.trainer(Regularize(recipe)), rows, **options)
    light.fit(Named(), light.trainer(Regularize(Recipe(L2(1e-3)))), rows, **options)  # nothing edits the batch


def test_the_learning_rate_finder_advances_nothing(light: Any, rows: TensorDataset, tmp_path: Any) -> None:
    class Tuned(light.Module):
        def __init__(self) -> None:
            super().__init__(lambda params: torch.optim.AdamW(params, lr=self.lr, weight_decay=0.0))
            self.lr = 1e-2

    class Before(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            run = Regularize.of(trainer)
            assert (run.step_number, run.draws, run.terms) == (0, 0, {})
            assert not light.differing(pl_module.net.state_dict(), light.network().state_dict())

    callback = Regularize(light.usual(), module="net")
    finder = LearningRateFinder(num_training_steps=20, early_stop_threshold=None)
    light.fit(Tuned(), light.trainer(callback, finder, Before(), epochs=2, default_root_dir=tmp_path), rows)
    assert callback.run.step_number == 10


def test_a_root_that_is_not_called_itself_draws_anew_for_each_batch(light: Any, rows: TensorDataset) -> None:
    class Inner(light.Module):
        def forward(self, x: Any) -> Any:
            raise AssertionError("not used")

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            hidden = self.net[1](self.net[0](batch[0]))
            masks.append(self.net[2](hidden + 9.0) == 0)
            return F.cross_entropy(self.net[3](self.net[2](hidden)), batch[1])

    masks: list[torch.Tensor] = []
    trainer = light.trainer(Regularize(Recipe(Dropout(0.5))), epochs=1, limit_val_batches=0, accumulate_grad_batches=5)
    light.fit(Inner(), trainer, rows)
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 5


def test_nothing_is_left_on_the_module(light: Any, rows: TensorDataset) -> None:
    module, callback = light.Module(), Regularize(light.usual())
    before = set(vars(module))
    trainer = light.trainer(callback, epochs=1)
    light.fit(module, trainer, rows)
    assert {"training_step", "configure_model", "log", "log_dict"}.isdisjoint(set(vars(module)) - before)
    assert "training_step" not in vars(trainer.strategy)
