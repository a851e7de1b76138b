"""One recipe, one model, one order of rows: a loop of one's own, Lightning and transformers end bit for bit alike."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, default_collate

from poise import L2, ClipNorm, Cosine, Decay, Dropout, Ema, LabelSmoothing, Recipe
from poise.adapters.lightning import Regularize
from poise.adapters.transformers import Logits, regularize

pytestmark = [
    pytest.mark.filterwarnings("ignore:l2 and decay both shrink:poise.PoiseWarning"),
    pytest.mark.usefixtures("seeded"),
]


def recipe() -> Recipe:
    return Recipe(
        Dropout(Cosine(0.3, 0.1, steps=50)), LabelSmoothing(0.1), L2(1e-3), Decay(0.1), ClipNorm(0.5), Ema(0.9)
    )


class Module(pl.LightningModule):
    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, labels = batch
        return F.cross_entropy(self.net({"input_ids": inputs}), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.0)


def test_fifty_steps_in_three_loops(light: Any, tiny: Any, hugging: Any) -> None:
    pairs = [(one["input_ids"], one["labels"]) for one in tiny.sentences()]

    own = recipe().start(Logits(tiny.bert()), classes=3)
    optimizer = torch.optim.AdamW(own.model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(50):
        first = step % 5 * 8
        inputs, labels = own.batch(*default_collate(pairs[first : first + 8]))
        outputs = own.model({"input_ids": inputs})
        own.objective(F.cross_entropy(outputs, labels), outputs=outputs).backward()
        own.update(optimizer)

    module = Module(Logits(tiny.bert()))
    callback = Regularize(recipe(), module="net", classes=3, restore=False)
    light.trainer(callback).fit(module, DataLoader(pairs, 8))

    trainer = hugging()
    run = regularize(trainer, recipe(), restore=False)
    trainer.train()

    assert own.step_number == callback.run.step_number == run.step_number == 50
    for other in (callback.run, run):
        assert not light.differing(other.model.state_dict(), own.model.state_dict())
        assert not light.differing(other.state_dict(), own.state_dict())
