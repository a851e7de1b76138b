"""Which weights validate, when training stops, what fit leaves behind, and what a checkpoint brings back."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from poise import L2, Budget, CheckpointError, Dropout, Ema, Patience, Recipe
from poise.adapters.lightning import Regularize

pytestmark = pytest.mark.filterwarnings("ignore:l2 and decay both shrink:poise.PoiseWarning")


class Seen(pl.Callback):
    """The weights in the module at a moment; runs after the callbacks named before it."""

    def __init__(self, *moments: str) -> None:
        self.found: dict[str, list[torch.Tensor]] = {moment: [] for moment in moments}
        for moment in moments:
            setattr(self, moment, lambda trainer, module, *_, moment=moment: self.note(moment, trainer, module))

    def note(self, moment: str, trainer: pl.Trainer, module: Any) -> None:
        if not trainer.sanity_checking:
            self.found[moment].append(module.net[0].weight.detach().clone())


def loss_of(model: Any, rows: TensorDataset) -> float:
    inputs, targets = rows.tensors
    with torch.no_grad():
        return float(F.cross_entropy(model.eval()(inputs), targets))


def test_validation_uses_the_averaged_weights_and_puts_the_raw_ones_back(light: Any, rows: TensorDataset) -> None:
    averages: list[torch.Tensor] = []

    class Average(pl.Callback):
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                averages.append(Regularize.of(trainer).averaged["0.weight"].clone())

    seen = Seen("on_train_batch_end", "on_validation_start", "on_validation_end")
    callback = Regularize(Recipe(Ema(0.5)), module="net")
    light.fit(light.Module(), light.trainer(callback, Average(), seen, epochs=3), rows)
    raw = seen.found["on_train_batch_end"][4::5]
    assert len(averages) == 3
    assert all(map(torch.equal, seen.found["on_validation_start"], averages))
    assert all(map(torch.equal, seen.found["on_validation_end"], raw))
    assert not any(map(torch.equal, raw, averages))


def test_the_sanity_check_advances_nothing_and_gives_no_score(light: Any, rows: TensorDataset) -> None:
    callback = Regularize(Recipe(Patience(3)), monitor="val_loss")
    light.fit(light.Module(), light.trainer(callback, epochs=2, num_sanity_val_steps=2), rows)
    assert [entry["step"] for entry in callback.run.history] == [5.0, 10.0]


@pytest.mark.parametrize(("monitor", "mode"), [("val_loss", "min"), ("val_accuracy", "max")])
def test_patience_ends_training_and_the_best_weights_are_restored(
    monitor: str, mode: Any, light: Any, rows: TensorDataset
) -> None:
    module, seen = light.Module(), Seen("on_validation_end")
    callback = Regularize(Recipe(Patience(2)), module="net", monitor=monitor, mode=mode)
    light.fit(module, light.trainer(callback, seen, epochs=300), rows)
    scores = [entry["score"] for entry in callback.run.history]
    best = scores.index(min(scores))
    assert len(scores) == best + 3 < 300
    assert torch.equal(module.net[0].weight, seen.found["on_validation_end"][best])
    assert torch.equal(callback.predictor()[0].weight, module.net[0].weight)
    if mode == "min":
        assert loss_of(module, rows) == pytest.approx(min(scores), abs=1e-7)


def test_a_budget_ends_training_also_without_validation(light: Any, rows: TensorDataset) -> None:
    class Logged(light.Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss, on_epoch=True)
            return loss

    callback = Regularize(Recipe(Budget(15)), monitor="loss")
    light.fit(Logged(), light.trainer(callback, epochs=9, limit_val_batches=0), rows)
    assert callback.run.step_number == 15


def test_without_a_best_the_averaged_weights_stay_with_their_statistics(light: Any, rows: TensorDataset) -> None:
    module = light.Module()
    callback = Regularize(Recipe(Ema(0.5)), module="net", statistics=lambda: [rows.tensors[0]])
    light.fit(module, light.trainer(callback, epochs=2), rows)
    assert torch.equal(module.net[0].weight, callback.run.averaged["0.weight"])
    hidden = module.net[0](rows.tensors[0])
    torch.testing.assert_close(module.net[1].running_mean, hidden.mean(0))
    torch.testing.assert_close(module.net[1].running_var, hidden.var(0))
    assert loss_of(callback.predictor(), rows) == loss_of(module.net, rows)


def test_without_restore_the_raw_weights_stay(light: Any, rows: TensorDataset) -> None:
    module, seen = light.Module(), Seen("on_train_batch_end")
    callback = Regularize(Recipe(Ema(0.5)), module="net", restore=False)
    trainer = light.trainer(callback, seen, epochs=2)
    light.fit(module, trainer, rows)
    assert torch.equal(module.net[0].weight, seen.found["on_train_batch_end"][-1])
    tested = Seen("on_test_start", "on_test_end")
    trainer.callbacks.append(tested)
    trainer.test(module, DataLoader(rows, light.ROWS), verbose=False)
    assert torch.equal(tested.found["on_test_start"][0], callback.run.averaged["0.weight"])
    assert torch.equal(tested.found["on_test_end"][0], module.net[0].weight)


# Beside OnExceptionCheckpoint, Lightning looks for an older checkpoint, and says that it finds none.
@pytest.mark.filterwarnings("ignore:.*was called without a model", "ignore:.*there is no last checkpoint available")
def test_a_failure_in_validation_leaves_the_raw_weights(light: Any, rows: TensorDataset, tmp_path: Any) -> None:
    class Failing(light.Module):
        def on_validation_epoch_end(self) -> None:
            if self.current_epoch == 1:
                raise ZeroDivisionError

    module, seen = Failing(), Seen("on_train_batch_end")
    crash = OnExceptionCheckpoint(tmp_path)
    callback = Regularize(Recipe(Ema(0.5)), module="net")
    with pytest.raises(ZeroDivisionError):
        light.fit(module, light.trainer(callback, seen, crash, epochs=9, enable_checkpointing=True), rows)
    saved = torch.load(crash.ckpt_path, weights_only=False)
    assert torch.equal(module.net[0].weight, seen.found["on_train_batch_end"][9])
    assert torch.equal(saved["state_dict"]["net.0.weight"], module.net[0].weight)


def test_a_checkpoint_tests_in_a_new_process_with_the_best_weights(
    light: Any, rows: TensorDataset, tmp_path: Any
) -> None:
    def callback() -> Regularize:
        return Regularize(Recipe(Dropout(0.2), Patience(2)), module="net", monitor="val_loss")

    saver = ModelCheckpoint(tmp_path, save_top_k=-1)
    module, ours = light.Module(), callback()
    light.fit(module, light.trainer(ours, saver, epochs=300, enable_checkpointing=True), rows)
    last = max(tmp_path.iterdir(), key=lambda path: int(path.stem.rpartition("=")[2]))
    tester = light.trainer(callback(), ModelCheckpoint(tmp_path, save_top_k=-1), enable_checkpointing=True)
    results = tester.test(light.Module(), DataLoader(rows, light.ROWS), ckpt_path=last, verbose=False)
    assert results[0]["val_loss"] == pytest.approx(min(entry["score"] for entry in ours.run.history), abs=1e-7)


def test_evaluating_in_inference_mode_leaves_weights_that_train(light: Any, rows: TensorDataset) -> None:
    module, callback = light.Module(), Regularize(Recipe(Dropout(0.2), Ema(0.5)), module="net", restore=False)
    trainer = light.trainer(callback, epochs=1)
    light.fit(module, trainer, rows)
    trainer.validate(module, DataLoader(rows, light.ROWS), verbose=False)
    run = callback.run
    run.objective(F.cross_entropy(run.model.train()(rows.tensors[0]), rows.tensors[1])).backward()
    run.update(torch.optim.SGD(module.net.parameters(), lr=0.1))
    assert run.step_number == 6


def test_a_checkpoint_saved_after_fit_is_not_trained_on(light: Any, rows: TensorDataset, tmp_path: Any) -> None:
    trainer = light.trainer(Regularize(Recipe(Ema(0.5))), epochs=1)
    light.fit(light.Module(), trainer, rows)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    with pytest.raises(CheckpointError, match="saved after fit had put the best weights in"):
        light.fit(light.Module(), light.trainer(Regularize(Recipe(Ema(0.5)))), rows, ckpt_path=tmp_path / "end.ckpt")
    trainer = light.trainer(Regularize(Recipe(Ema(0.5)), restore=False), epochs=1)
    light.fit(light.Module(), trainer, rows)
    trainer.save_checkpoint(tmp_path / "raw.ckpt")
    again = Regularize(Recipe(Ema(0.5)))
    light.fit(light.Module(), light.trainer(again, epochs=2), rows, ckpt_path=tmp_path / "raw.ckpt")
    assert again.run.step_number == 10


def test_another_recipes_checkpoint_is_refused(light: Any, rows: TensorDataset, tmp_path: Any) -> None:
    trainer = light.trainer(Regularize(Recipe(L2(1e-3)), restore=False), epochs=1)
    light.fit(light.Module(), trainer, rows)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(CheckpointError, match="state of another recipe"):
        light.fit(light.Module(), light.trainer(Regularize(Recipe(L2(1e-2)))), rows, ckpt_path=tmp_path / "one.ckpt")
