"""A small LightningModule, its rows, and a quiet Trainer; both front ends are compared with the plain loop on them."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
)

from poise import L2, ClipNorm, Cosine, Decay, Dropout, Ema, Mixup, Recipe
from poise.train.run import Run

FEATURES, CLASSES, ROWS = 5, 3, 40


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))


def usual() -> Recipe:
    return Recipe(Dropout(Cosine(0.4, 0.1, steps=50)), Mixup(0.4), L2(1e-2), Decay(0.1), ClipNorm(0.5), Ema(0.9))


class Module(pl.LightningModule):
    def __init__(self, make: Callable[[Any], torch.optim.Optimizer] | None = None) -> None:
        super().__init__()
        self.net = network()
        self.make = make or (lambda params: torch.optim.AdamW(params, lr=1e-2, weight_decay=0.0))
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.losses.append(float(loss))
        self.log("val_loss", loss)
        self.log("val_accuracy", (self(x).argmax(1) == y).float().mean())

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        optimizer = self.make(self.parameters())
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.fixture(scope="session")
def rows() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, FEATURES, generator=generator)
    scores = inputs @ torch.randn(FEATURES, CLASSES, generator=generator)
    return TensorDataset(inputs, (scores + torch.randn(ROWS, CLASSES, generator=generator)).argmax(1))


def trainer(*callbacks: pl.Callback, epochs: int = 10, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **({"enable_checkpointing": False} | options),
    )


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def fit(module: pl.LightningModule, with_trainer: pl.Trainer, rows: TensorDataset, **options: Any) -> None:
    """Fit on 5 batches an epoch, validate on all rows."""
    torch.manual_seed(1)
    loader = options.pop("loader", None) or DataLoader(rows, 8)
    with_trainer.fit(module, loader, DataLoader(rows, ROWS), **options)


def differing(first: Any, second: Any, path: str = "") -> list[str]:
    """Paths at which two states are not equal bit for bit."""
    if isinstance(first, Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [path]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [found for name in first for found in differing(first[name], second[name], f"{path}/{name}")]
    if isinstance(first, (list, tuple)):
        pairs = enumerate(zip(first, second, strict=True))
        return [found for place, pair in pairs for found in differing(*pair, f"{path}/{place}")]
    return [] if first == second else [path]


def own_loop(
    run: Run, optimizer: torch.optim.Optimizer, rows: TensorDataset, epochs: int = 10, parts: int = 1, **context: Any
) -> None:
    """The plain loop on the batches, in the order and with the learning rates that the Trainer above has."""
    torch.manual_seed(1)
    inputs, targets = rows.tensors
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for _ in range(epochs):
        batches = list(torch.arange(ROWS).split(8))
        for place, batch in enumerate(batches):
            x, y = run.batch(inputs[batch], targets[batch])
            with torch.autocast("cpu", torch.bfloat16, enabled=context.get("bf16", False), cache_enabled=False):
                outputs = run.model(x)
                loss = F.cross_entropy(outputs, y)
            (run.objective(loss, outputs=outputs) / parts).backward()
            if (place + 1) % parts and place + 1 < len(batches):
                continue
            run.before_step(optimizer)
            if "clip" in context:
                torch.nn.utils.clip_grad_norm_(run.model.parameters(), context["clip"])
            optimizer.step()
            run.after_step(optimizer)
            schedule.step()


@pytest.fixture(scope="session")
def light() -> SimpleNamespace:
    names = (network, usual, Module, trainer, fit, differing, own_loop)
    return SimpleNamespace(**{name.__name__: name for name in names}, ROWS=ROWS)


# --- transformers ----------------------------------------------------------------------------------------------------


def bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(vocab_size=30, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                   num_labels=CLASSES, max_position_embeddings=8, hidden_dropout_prob=0.0,
                   attention_probs_dropout_prob=0.0)
    )  # fmt: skip


def gpt() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=30, n_embd=32, n_layer=2, n_head=2, n_positions=8, resid_pdrop=0.0, embd_pdrop=0.0,
                   attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
    )  # fmt: skip


def sentences() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 30, (ROWS, 6), generator=generator)
    return [{"input_ids": row, "labels": row[0] % CLASSES} for row in ids]


def texts() -> list[dict[str, torch.Tensor]]:
    """Some tokens of some rows are masked out, so that micro-batches have different numbers of labels."""
    rows = [one["input_ids"] for one in sentences()]
    return [
        {"input_ids": row, "labels": torch.where(torch.arange(6) < 2 + i % 5, row, -100)} for i, row in enumerate(rows)
    ]


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    return SimpleNamespace(bert=bert, gpt=gpt, sentences=sentences, texts=texts)


@pytest.fixture
def hugging(tmp_path: Any) -> Callable[..., Trainer]:
    def make(model: Any = None, data: Any = None, **options: Any) -> Trainer:
        chosen = {
            "output_dir": str(tmp_path / "out"), "per_device_train_batch_size": 8, "learning_rate": 1e-2,
            "num_train_epochs": 10, "lr_scheduler_type": "constant", "optim": "adamw_torch", "max_grad_norm": 0.0,
            "train_sampling_strategy": "sequential", "report_to": "none", "disable_tqdm": True, "use_cpu": True,
            "save_strategy": "no", "logging_strategy": "no", "per_device_eval_batch_size": ROWS,
        }  # fmt: skip
        data = sentences() if data is None else data
        arguments = TrainingArguments(**(chosen | options))
        return Trainer(model=bert() if model is None else model, args=arguments, train_dataset=data, eval_dataset=data)

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return make
