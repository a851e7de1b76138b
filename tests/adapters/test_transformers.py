"""Hugging Face's Trainer under a recipe, against plain Trainer and a loop of one's own; tiny real models."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional as F
from transformers import (
    BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments,
)  # fmt: skip

from poise import (
    L2, ArgumentError, CheckpointError, ClipNorm, Cosine, Decay, Dropout, Ema, LabelSmoothing, Mixup, Patience, Recipe,
    Sam,
)  # fmt: skip
from poise.adapters.transformers import Logits, regularize

# What `usual` is made of fights on purpose: L2 and Decay are both in it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:l2 and decay both shrink:poise.PoiseWarning"),
    pytest.mark.usefixtures("seeded"),
]

ROWS, SIZE, CLASSES = 40, 8, 3


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


def usual() -> Recipe:
    return Recipe(Dropout(Cosine(0.3, 0.1, steps=50)), L2(1e-3), Decay(0.1), ClipNorm(0.5), Ema(0.9))


@pytest.fixture
def trainer(tmp_path: Any) -> Callable[..., Trainer]:
    def make(model: Any = None, data: Any = None, **options: Any) -> Trainer:
        chosen = {
            "output_dir": str(tmp_path / "out"), "per_device_train_batch_size": SIZE, "learning_rate": 1e-2,
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


def batches(data: Any, size: int = SIZE) -> list[dict[str, torch.Tensor]]:
    return [
        {name: torch.stack([one[name] for one in data[i : i + size]]) for name in data[0]}
        for i in range(0, len(data), size)
    ]


def own_loop(model: Any, recipe: Recipe, epochs: int = 10, clip: float = 0.0, size: int = SIZE) -> Any:
    run = recipe.start(Logits(model), classes=CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(epochs):
        for batch in batches(sentences(), size):
            inputs, labels = run.batch({"input_ids": batch["input_ids"]}, batch["labels"])
            outputs = run.model(inputs)
            run.objective(F.cross_entropy(outputs, labels), outputs=outputs).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            run.update(optimizer)
    return run


def test_an_empty_recipe_is_the_plain_trainer_bit_for_bit(trainer: Any, light: Any) -> None:
    plain, ours = trainer(), trainer()
    regularize(ours, Recipe())
    plain.train()
    ours.train()
    assert not light.differing(plain.model.state_dict(), ours.model.state_dict())


@pytest.mark.parametrize(("options", "clip"), [({}, 0.0), ({"max_grad_norm": 0.1}, 0.1)], ids=["plain", "clipped"])
def test_fifty_steps_are_those_of_the_own_loop_bit_for_bit(options: Any, clip: float, trainer: Any, light: Any) -> None:
    ours, model = trainer(**options), bert()
    run = regularize(ours, usual(), restore=False)
    ours.train()
    theirs = own_loop(model, usual(), clip=clip)
    assert run.step_number == 50
    assert not light.differing(ours.model.state_dict(), model.state_dict())
    assert not light.differing(run.state_dict(), theirs.state_dict())


def test_label_smoothing_gives_the_models_soft_labels(trainer: Any, light: Any) -> None:
    ours, model = trainer(num_train_epochs=2), bert()
    regularize(ours, Recipe(LabelSmoothing(0.2)))
    ours.train()
    own_loop(model, Recipe(LabelSmoothing(0.2)), epochs=2)
    assert not light.differing(ours.model.state_dict(), model.state_dict())


def test_mixup_mixes_embeddings(trainer: Any) -> None:
    table = torch.randn(30, 32, generator=torch.Generator().manual_seed(1))
    data = [{"inputs_embeds": table[one["input_ids"]], "labels": one["labels"]} for one in sentences()]
    ours, seen = trainer(data=data, num_train_epochs=1), []
    ours.model.register_forward_pre_hook(lambda _m, _a, named: seen.append(named), with_kwargs=True)
    run = regularize(ours, Recipe(Mixup(0.4)))
    ours.train()
    first = torch.stack([one["inputs_embeds"] for one in data[:SIZE]])
    assert seen[0]["inputs_embeds"].shape == first.shape
    assert not torch.equal(seen[0]["inputs_embeds"], first)
    assert run.predictor()({"inputs_embeds": first}).shape == (SIZE, CLASSES)


def test_a_part_that_repeats_the_step_equals_the_own_loop(trainer: Any, light: Any) -> None:
    ours, model = trainer(num_train_epochs=1), bert()
    regularize(ours, Recipe(Sam(0.05)))
    ours.train()
    run = Recipe(Sam(0.05)).start(Logits(model), classes=CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for batch in batches(sentences()):

        def closure(batch: Any = batch) -> torch.Tensor:
            inputs, labels = run.batch({"input_ids": batch["input_ids"]}, batch["labels"])
            loss = run.objective(F.cross_entropy(run.model(inputs), labels))
            loss.backward()
            return loss

        run.step(optimizer, closure)
    assert not light.differing(ours.model.state_dict(), model.state_dict())


@pytest.mark.parametrize(
    ("make", "data", "scaled"), [(bert, sentences, False), (gpt, texts, None)], ids=["a mean", "all tokens"]
)
def test_accumulated_batches_count_the_penalty_once(make: Any, data: Any, scaled: Any, trainer: Any) -> None:
    """GPT-2's loss is divided by the tokens of all micro-batches (num_items_in_batch), BERT's by its own rows.

    A plain Trainer takes BERT's for one of the first kind, and sums the micro-batches' means; `scaled` tells it.
    """
    weights = {}
    for steps in (1, 2, 4):
        ours = trainer(make(), data(), num_train_epochs=2, per_device_train_batch_size=8 // steps, optim="sgd",
                       gradient_accumulation_steps=steps)  # fmt: skip
        ours.loss_is_scaled_for_ga = scaled
        run = regularize(ours, Recipe(L2(1.0)))
        ours.train()
        assert run.step_number == 10
        weights[steps] = {name: p.detach() for name, p in ours.model.named_parameters()}
    for steps in (2, 4):
        torch.testing.assert_close(weights[steps], weights[1], rtol=0, atol=2e-7)


def test_evaluation_uses_the_averaged_weights_and_training_goes_on_with_the_raw(trainer: Any, light: Any) -> None:
    ours, plain = trainer(eval_strategy="epoch", num_train_epochs=2), trainer(num_train_epochs=2)
    run = regularize(ours, Recipe(Ema(0.5)), restore=False)
    seen: list[bool] = []
    name = "classifier.weight"
    own = ours.prediction_step
    ours.prediction_step = lambda *given, **named: (
        seen.append(torch.equal(ours.model.get_parameter(name), run.averaged[f"model.{name}"])), own(*given, **named)
    )[1]  # fmt: skip
    ours.train()
    plain.train()
    assert seen == [True, True]
    assert not light.differing(ours.model.state_dict(), plain.model.state_dict())
    ours.evaluate()
    assert seen == [True, True, True]
    assert not light.differing(ours.model.state_dict(), plain.model.state_dict())


def test_patience_ends_training_and_the_best_weights_stay(trainer: Any) -> None:
    data = [{**one, "labels": (one["labels"] + i) % CLASSES} for i, one in enumerate(sentences())]
    ours = trainer(eval_strategy="epoch", num_train_epochs=60)
    ours.eval_dataset = data  # other labels: the score soon rises
    run = regularize(ours, Recipe(Patience(2)), monitor="eval_loss")
    ours.train()
    scores = [entry["score"] for entry in run.history]
    assert len(scores) == scores.index(min(scores)) + 3 < 60
    assert ours.evaluate()["eval_loss"] == pytest.approx(min(scores), abs=1e-7)


def test_terms_are_logged(trainer: Any) -> None:
    ours = trainer(num_train_epochs=1, logging_strategy="steps", logging_steps=5)
    run = regularize(ours, Recipe(L2(1e-3)))
    ours.train()
    assert ours.state.log_history[0]["poise/l2"] == float(run.terms["l2"])
    assert "poise/data" not in ours.state.log_history[0]


@pytest.fixture
def training(trainer: Any) -> Callable[..., Any]:
    def train(start: Any = None, stop: int = 0) -> Any:
        model = bert()
        model.dropout = torch.nn.Dropout(0.1)  # draws from torch's global generator
        ours = trainer(
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


def test_a_checkpoint_without_the_run_is_refused(trainer: Any, tmp_path: Any) -> None:
    trainer(num_train_epochs=1, save_strategy="epoch").train()
    ours = trainer(num_train_epochs=2)
    regularize(ours, Recipe(Ema(0.9)))
    with pytest.raises(CheckpointError, match=r"has no poise\.pt"):
        ours.train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("recipe", "make", "data", "options", "message"),
    [
        (Recipe(Mixup(0.4)), bert, sentences, {}, "must not edit inputs that are ids; mixup would"),
        (Recipe(LabelSmoothing(0.1)), gpt, texts, {}, r"one class or number a row for label_smoothing; got .*\(8, 6\)"),
        (Recipe(LabelSmoothing(0.1)), bert, sentences, {"label_smoothing_factor": 0.1}, "must be 0 beside"),
        (Recipe(Sam(0.1)), bert, sentences, {"gradient_accumulation_steps": 2}, "must be 1, because sam repeats"),
    ],
)
def test_what_cannot_work_is_refused_in_the_first_step(
    recipe: Recipe, make: Any, data: Any, options: Any, message: str, trainer: Any
) -> None:
    ours = trainer(make(), data(), **options)
    regularize(ours, recipe)
    with pytest.raises(ArgumentError, match=message):
        ours.train()


def test_wrong_trainers_are_refused(trainer: Any, tmp_path: Any) -> None:
    with pytest.raises(ArgumentError, match=r"must be a transformers\.Trainer; got a BertFor"):
        regularize(bert(), Recipe())  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="must name the metric that patience watches"):
        regularize(trainer(), Recipe(Patience(3)))
    ours = trainer(num_train_epochs=1)
    regularize(ours, Recipe())
    with pytest.raises(ArgumentError, match="has been regularized"):
        regularize(ours, Recipe())
    ours.train()
    with pytest.raises(ArgumentError, match="cannot begin again"):
        ours.train()
