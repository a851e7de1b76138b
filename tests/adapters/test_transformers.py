"""Hugging Face's Trainer under a recipe, against plain Trainer and a loop of one's own; tiny real models."""

import warnings
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from poise import (
    L2,
    ArgumentError,
    ClipNorm,
    Cosine,
    Decay,
    Dropout,
    Ema,
    LabelSmoothing,
    Mixup,
    Patience,
    PoiseWarning,
    Recipe,
    Sam,
)  # fmt: skip
from poise.adapters.transformers import Logits, regularize

# What `usual` is made of fights on purpose: L2 and Decay are both in it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:l2 and decay both shrink:poise.PoiseWarning"),
    pytest.mark.usefixtures("seeded"),
]

SIZE, CLASSES = 8, 3


def usual() -> Recipe:
    return Recipe(Dropout(Cosine(0.3, 0.1, steps=50)), L2(1e-3), Decay(0.1), ClipNorm(0.5), Ema(0.9))


def batches(data: Any, size: int = SIZE) -> list[dict[str, torch.Tensor]]:
    return [
        {name: torch.stack([one[name] for one in data[i : i + size]]) for name in data[0]}
        for i in range(0, len(data), size)
    ]


def own_loop(data: Any, model: Any, recipe: Recipe, epochs: int = 10, clip: float = 0.0) -> Any:
    run = recipe.start(Logits(model), classes=CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(epochs):
        for batch in batches(data):
            inputs, labels = run.batch({"input_ids": batch["input_ids"]}, batch["labels"])
            outputs = run.model(inputs)
            run.objective(F.cross_entropy(outputs, labels), outputs=outputs).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            run.update(optimizer)
    return run


def test_an_empty_recipe_is_the_plain_trainer_bit_for_bit(hugging: Any, light: Any) -> None:
    plain, ours = hugging(), hugging()
    regularize(ours, Recipe())
    plain.train()
    ours.train()
    assert not light.differing(plain.model.state_dict(), ours.model.state_dict())


@pytest.mark.parametrize(("options", "clip"), [({}, 0.0), ({"max_grad_norm": 0.1}, 0.1)], ids=["plain", "clipped"])
def test_fifty_steps_are_those_of_the_own_loop_bit_for_bit(
    options: Any, clip: float, hugging: Any, tiny: Any, light: Any
) -> None:
    ours, model = hugging(**options), tiny.bert()
    run = regularize(ours, usual(), restore=False)
    ours.train()
    theirs = own_loop(tiny.sentences(), model, usual(), clip=clip)
    assert run.step_number == 50
    assert not light.differing(ours.model.state_dict(), model.state_dict())
    assert not light.differing(run.state_dict(), theirs.state_dict())


def test_label_smoothing_gives_the_models_soft_labels(hugging: Any, tiny: Any, light: Any) -> None:
    ours, model = hugging(num_train_epochs=2), tiny.bert()
    regularize(ours, Recipe(LabelSmoothing(0.2)))
    ours.train()
    own_loop(tiny.sentences(), model, Recipe(LabelSmoothing(0.2)), epochs=2)
    assert not light.differing(ours.model.state_dict(), model.state_dict())


def test_mixup_mixes_embeddings(hugging: Any, tiny: Any) -> None:
    table = torch.randn(30, 32, generator=torch.Generator().manual_seed(1))
    data = [{"inputs_embeds": table[one["input_ids"]], "labels": one["labels"]} for one in tiny.sentences()]
    ours, seen = hugging(data=data, num_train_epochs=1), []
    ours.model.register_forward_pre_hook(lambda _m, _a, named: seen.append(named), with_kwargs=True)
    run = regularize(ours, Recipe(Mixup(0.4)))
    ours.train()
    first = torch.stack([one["inputs_embeds"] for one in data[:SIZE]])
    assert seen[0]["inputs_embeds"].shape == first.shape
    assert not torch.equal(seen[0]["inputs_embeds"], first)
    assert run.predictor()({"inputs_embeds": first}).shape == (SIZE, CLASSES)


def test_a_part_that_repeats_the_step_equals_the_own_loop(hugging: Any, tiny: Any, light: Any) -> None:
    ours, model = hugging(num_train_epochs=1), tiny.bert()
    regularize(ours, Recipe(Sam(0.05)))
    ours.train()
    run = Recipe(Sam(0.05)).start(Logits(model), classes=CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for batch in batches(tiny.sentences()):

        def closure(batch: Any = batch) -> torch.Tensor:
            inputs, labels = run.batch({"input_ids": batch["input_ids"]}, batch["labels"])
            loss = run.objective(F.cross_entropy(run.model(inputs), labels))
            loss.backward()
            return loss

        run.step(optimizer, closure)
    assert not light.differing(ours.model.state_dict(), model.state_dict())


@pytest.mark.parametrize(
    ("make", "data", "scaled"), [("bert", "sentences", False), ("gpt", "texts", None)], ids=["a mean", "all tokens"]
)
def test_accumulated_batches_count_the_penalty_once(make: Any, data: Any, scaled: Any, hugging: Any, tiny: Any) -> None:
    """GPT-2's loss is divided by the tokens of all micro-batches (num_items_in_batch), BERT's by its own rows.

    A plain Trainer takes BERT's for one of the first kind, and sums the micro-batches' means; `scaled` tells it.
    """
    weights = {}
    for steps in (1, 2, 4):
        ours = hugging(
            getattr(tiny, make)(), getattr(tiny, data)(), num_train_epochs=2, optim="sgd",
            per_device_train_batch_size=8 // steps, gradient_accumulation_steps=steps,
        )  # fmt: skip
        ours.loss_is_scaled_for_ga = scaled
        run = regularize(ours, Recipe(L2(1.0)))
        ours.train()
        assert run.step_number == 10
        weights[steps] = {name: p.detach() for name, p in ours.model.named_parameters()}
    for steps in (2, 4):
        torch.testing.assert_close(weights[steps], weights[1], rtol=0, atol=2e-7)


def test_evaluation_uses_the_averaged_weights_and_training_goes_on_with_the_raw(hugging: Any, light: Any) -> None:
    ours, plain = hugging(eval_strategy="epoch", num_train_epochs=2), hugging(num_train_epochs=2)
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


def test_patience_ends_training_and_the_best_weights_stay(hugging: Any, tiny: Any) -> None:
    data = [{**one, "labels": (one["labels"] + i) % CLASSES} for i, one in enumerate(tiny.sentences())]
    ours = hugging(eval_strategy="epoch", num_train_epochs=60)
    ours.eval_dataset = data  # other labels: the score soon rises
    run = regularize(ours, Recipe(Patience(2)), monitor="eval_loss")
    ours.train()
    scores = [entry["score"] for entry in run.history]
    assert len(scores) == scores.index(min(scores)) + 3 < 60
    assert ours.evaluate()["eval_loss"] == pytest.approx(min(scores), abs=1e-7)


@pytest.mark.parametrize("only_model", [False, True])
def test_the_trainers_best_checkpoint_stays_with_its_averaged_weights(
    hugging: Any, tiny: Any, only_model: bool
) -> None:
    data = [{**one, "labels": (one["labels"] + i) % CLASSES} for i, one in enumerate(tiny.sentences())]
    ours = hugging(
        eval_strategy="epoch", save_strategy="epoch", num_train_epochs=4, load_best_model_at_end=True,
        save_only_model=only_model, metric_for_best_model="eval_loss",
    )  # fmt: skip
    ours.eval_dataset = data  # other labels: the score soon rises
    run = regularize(ours, Recipe(Ema(0.5)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", PoiseWarning)
        ours.train()
    scores = [entry["eval_loss"] for entry in ours.state.log_history if "eval_loss" in entry]
    assert len(scores) == 4
    assert min(scores) < scores[-1]
    assert ours.state.best_metric == min(scores)
    assert run.step_number == 20
    stays = min(scores) if not only_model else scores[-1]
    assert ours.evaluate()["eval_loss"] == pytest.approx(stays, abs=1e-7)
    assert ["save_only_model" in str(one.message) for one in told] == ([True] if only_model else [])
    inputs = {"input_ids": torch.stack([one["input_ids"] for one in data])}
    labels = torch.stack([one["labels"] for one in data])
    with torch.no_grad():
        assert float(F.cross_entropy(run.predictor()(inputs), labels)) == pytest.approx(stays, abs=1e-6)


def test_terms_are_logged(hugging: Any) -> None:
    ours = hugging(num_train_epochs=1, logging_strategy="steps", logging_steps=5)
    run = regularize(ours, Recipe(L2(1e-3)))
    ours.train()
    assert ours.state.log_history[0]["poise/l2"] == float(run.terms["l2"])
    assert "poise/data" not in ours.state.log_history[0]


@pytest.mark.parametrize(
    ("recipe", "make", "data", "options", "message"),
    [
        (Recipe(Mixup(0.4)), "bert", "sentences", {}, "must not edit inputs that are ids; mixup would"),
        (
            Recipe(LabelSmoothing(0.1)),
            "gpt",
            "texts",
            {},
            r"one class or number a row for label_smoothing; got .*\(8, 6\)",
        ),
        (Recipe(LabelSmoothing(0.1)), "bert", "sentences", {"label_smoothing_factor": 0.1}, "must be 0 beside"),
        (Recipe(Sam(0.1)), "bert", "sentences", {"gradient_accumulation_steps": 2}, "must be 1, because sam repeats"),
    ],
)
def test_what_cannot_work_is_refused_in_the_first_step(
    recipe: Recipe, make: Any, data: Any, options: Any, message: str, hugging: Any, tiny: Any
) -> None:
    ours = hugging(getattr(tiny, make)(), getattr(tiny, data)(), **options)
    regularize(ours, recipe)
    with pytest.raises(ArgumentError, match=message):
        ours.train()


def test_wrong_trainers_are_refused(hugging: Any, tiny: Any, tmp_path: Any) -> None:
    with pytest.raises(ArgumentError, match=r"must be a transformers\.Trainer; got a BertFor"):
        regularize(tiny.bert(), Recipe())  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="must name the metric that patience watches"):
        regularize(hugging(), Recipe(Patience(3)))
    ours = hugging(num_train_epochs=1)
    regularize(ours, Recipe())
    with pytest.raises(ArgumentError, match="has been regularized"):
        regularize(ours, Recipe())
    ours.train()
    with pytest.raises(ArgumentError, match="cannot begin again"):
        ours.train()
