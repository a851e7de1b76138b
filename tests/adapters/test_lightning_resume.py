"""Lightning cut at every one of 95 steps: the resumed training ends as if it had not been cut, bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from poise import BatchNorm, ClipNorm, Cosine, Decay, Dropout, Ema, Mixup, Patience, PoiseWarning, Recipe
from poise.adapters.lightning import Regularize
from poise.train.loader import ResumableLoader

STEPS, PER_EPOCH = 95, 5


class AfterValidation(pl.Callback):
    """Saves after each step: after the validation where one follows, as ModelCheckpoint does by default."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if not trainer.is_last_batch:
            self.save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            self.save(trainer)


@pytest.fixture(scope="module")
def training(light: Any, rows: TensorDataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Train to the end, from a checkpoint if one is given; return all that is left of it."""

    def train(*callbacks: pl.Callback, start: Path | None = None, seed: int = 1, loader: Any = ResumableLoader) -> Any:
        recipe = Recipe(
            BatchNorm(), Dropout(Cosine(0.3, 0.1, steps=STEPS)), Mixup(0.4), Decay(0.1), ClipNorm(1.0), Ema(0.9),
            Patience(12),
        )  # fmt: skip
        module = light.Module()
        module.net[1] = nn.Dropout(0.1)  # draws from torch's global generator
        callback = Regularize(recipe, module="net", monitor="val_loss", restore=False)
        trainer = light.trainer(
            callback,
            *callbacks,
            epochs=STEPS // PER_EPOCH,
            enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        )
        torch.manual_seed(seed)
        batches = loader(rows, 8, shuffle=True)
        trainer.fit(module, batches, DataLoader(rows, light.ROWS), ckpt_path=start)
        return {
            "module": module.state_dict(),
            "run": callback.run.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "generator": torch.get_rng_state(),
        }

    return train


@pytest.fixture(scope="module")
def whole(training: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("checkpoints")
    return training(AfterValidation(folder)), folder


def test_the_example_reaches_its_last_step(whole: Any) -> None:
    assert whole[0]["run"]["step"] == STEPS
    assert len(whole[0]["run"]["history"]) == STEPS // PER_EPOCH
    assert sorted(int(path.stem) for path in whole[1].iterdir()) == list(range(1, STEPS + 1))


@pytest.mark.parametrize("stop", [*range(1, 7), *range(15, STEPS, 10)])
def test_cut_at_a_step_it_ends_as_if_it_had_not_been(
    stop: int, training: Callable[..., Any], whole: Any, light: Any
) -> None:
    assert not light.differing(training(start=whole[1] / f"{stop}.ckpt", seed=2), whole[0])


@pytest.mark.campaign
@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_cut_at_any_step_it_ends_as_if_it_had_not_been(
    stop: int, training: Callable[..., Any], whole: Any, light: Any
) -> None:
    assert not light.differing(training(start=whole[1] / f"{stop}.ckpt", seed=2), whole[0])


class Shuffled(DataLoader[Any]):
    """A loader that claims to go on, and begins again."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_with_a_loader_that_begins_again_the_middle_of_an_epoch_is_lost(
    training: Callable[..., Any], whole: Any, light: Any
) -> None:
    """The wrong loader that the tests above must catch."""
    assert light.differing(training(start=whole[1] / "42.ckpt", seed=2, loader=Shuffled), whole[0])


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")  # it misses the saver
def test_a_checkpoint_from_just_before_a_validation_says_that_it_is_lost(
    training: Callable[..., Any], tmp_path: Path
) -> None:
    training(ModelCheckpoint(tmp_path, save_top_k=-1, every_n_train_steps=PER_EPOCH))
    with pytest.warns(PoiseWarning, match="just before the validation due at step 30"):
        resumed = training(start=next(tmp_path.glob("*step=30.ckpt")), seed=2)
    assert len(resumed["run"]["history"]) == STEPS // PER_EPOCH - 1
