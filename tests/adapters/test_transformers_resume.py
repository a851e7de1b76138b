"""Hugging Face's Trainer, resumed from its checkpoints, ends as if it had not been cut, bit for bit."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from poise import CheckpointError, Cosine, Decay, Dropout, Ema, LabelSmoothing, Patience, Recipe
from poise.adapters.transformers import regularize

pytestmark = pytest.mark.usefixtures("seeded")


@pytest.fixture
def training(hugging: Any, tiny: Any) -> Callable[..., Any]:
    def train(start: Any = None, stop: int = 0) -> Any:
        model = tiny.bert()
        model.dropout = torch.nn.Dropout(0.1)  # draws from torch's global generator
        ours = hugging(
            model, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=1, num_train_epochs=4,
            train_sampling_strategy="random", lr_scheduler_type="cosine",
        )  # fmt: skip
        recipe = Recipe(Dropout(Cosine(0.3, 0.1, steps=20)), LabelSmoothing(0.1), Decay(0.1), Ema(0.9), Patience(30))
        run = regularize(ours, recipe, monitor="eval_loss", restore=False)
        ours.train(resume_from_checkpoint=start)
        return SimpleNamespace(trainer=ours, state={"run": run.state_dict(), "model": ours.model.state_dict(),
                                                    "optimizer": ours.optimizer.state_dict()})  # fmt: skip

    return train


def check_resumed(stops: Any, training: Any, light: Any, tmp_path: Any) -> None:
    whole = training()
    (tmp_path / "out").rename(tmp_path / "whole")
    assert whole.state["run"]["step"] == 20
    assert len(whole.state["run"]["history"]) == 10
    for stop in stops:
        torch.manual_seed(99)
        again = training(start=str(tmp_path / "whole" / f"checkpoint-{stop}"))
        assert not light.differing(again.state, whole.state), stop


def test_resumed_within_and_between_epochs_it_ends_as_if_it_had_not_been_cut(
    training: Any, light: Any, tmp_path: Any
) -> None:
    check_resumed([5, 8], training, light, tmp_path)


@pytest.mark.campaign
def test_resumed_at_any_step_it_ends_as_if_it_had_not_been_cut(training: Any, light: Any, tmp_path: Any) -> None:
    check_resumed(range(1, 20), training, light, tmp_path)


def test_a_checkpoint_without_the_run_is_refused(hugging: Any, tmp_path: Any) -> None:
    hugging(num_train_epochs=1, save_strategy="epoch").train()
    ours = hugging(num_train_epochs=2)
    regularize(ours, Recipe(Ema(0.9)))
    with pytest.raises(CheckpointError, match=r"has no poise\.pt"):
        ours.train(resume_from_checkpoint=True)
