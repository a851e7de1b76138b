"""What a run evaluates, keeps and predicts with; what its dials and batches are; what it refuses."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import (
    L2,
    ArgumentError,
    BatchNorm,
    Decay,
    Dropout,
    Ema,
    GroupLasso,
    Linear,
    Mixup,
    Patience,
    PoiseWarning,
    RDrop,
    Recipe,
    Swa,
)  # fmt: skip
from poise.train.population import Rows
from poise.train.run import TrainingError

# What `full` is made of fights on purpose: everything at once.
pytestmark = [
    pytest.mark.filterwarnings("ignore:l2 and decay both shrink:poise.PoiseWarning"),
    pytest.mark.filterwarnings("ignore:averaged weights are not exactly zero:poise.PoiseWarning"),
]


@pytest.mark.parametrize("fails", [False, True])
def test_evaluation_exchanges_weights_and_modes_and_puts_all_back(fails: bool, table: Rows, loop: Any) -> None:
    run, _ = loop.started(table, Recipe(BatchNorm(), Dropout(0.5), Ema(0.9)))
    run.model.layers[1].eval()
    before = {name: t.clone() for name, t in [*run.model.named_parameters(), *run.model.named_buffers()]}
    modes = [module.training for module in run.model.modules()]
    assert run.averaged is not None
    try:
        with run.evaluation(batches=[table.inputs]) as model:
            assert not any(module.training for module in model.modules())
            assert all(torch.equal(dict(model.named_parameters())[n], t) for n, t in run.averaged.items())
            if fails:
                raise KeyError("on purpose")
    except KeyError:
        assert fails
    loop.assert_equal(dict([*run.model.named_parameters(), *run.model.named_buffers()]), before)
    assert [module.training for module in run.model.modules()] == modes


def test_evaluation_between_forward_and_backward_leaves_the_graph_whole(table: Rows, loop: Any) -> None:
    run = Recipe(Dropout(0.5)).start(loop.network())
    loss = run.objective(F.cross_entropy(run.model(table.inputs), table.targets))
    with run.evaluation() as model:
        model(table.inputs)
    loss.backward()
    run.update(torch.optim.SGD(run.model.parameters(), lr=0.1))


def test_statistics_are_re_estimated_for_the_averaged_weights_and_kept_with_the_best(table: Rows, loop: Any) -> None:
    run, _ = loop.started(table, Recipe(BatchNorm(), Ema(0.9), Patience(3)))
    with run.evaluation(batches=table.inputs.split(30)) as model:
        expected = model.layers[0].poise_batch_norm.running_mean.clone()
        outputs = model(table.inputs)
        plain = F.linear(table.inputs, model.layers[0].weight, model.layers[0].bias).mean(0)
    assert torch.allclose(expected, plain, atol=1e-5)
    run.stop(1.0)
    predict = run.predictor()
    assert torch.equal(predict.layers[0].poise_batch_norm.running_mean, expected)
    assert torch.equal(predict(table.inputs), outputs)


def test_the_predictor_has_the_weights_of_the_true_best_evaluation(table: Rows, loop: Any) -> None:
    run = Recipe(BatchNorm(), Patience(3, minimum_change=0.5)).start(loop.network())
    optimizer = torch.optim.Adam(run.model.parameters(), lr=1e-2)
    kept, stops = [], []
    for score in (3.0, 2.0, 1.9, 2.4, float("nan")):  # 1.9 is the best, though no improvement by half
        loop.one_step(run, optimizer, table.inputs, table.targets)
        kept.append({name: tensor.clone() for name, tensor in run.model.state_dict().items()})
        stops.append(run.stop(score))
    assert stops == [False, False, False, False, True]
    loop.assert_equal(dict(run.predictor().state_dict()), kept[2])


def test_a_neutral_patience_keeps_nothing_so_the_last_weights_predict(table: Rows, loop: Any) -> None:
    run = Recipe(Patience(float("inf"))).start(loop.network())
    optimizer = torch.optim.Adam(run.model.parameters(), lr=1e-2)
    for score in (1.0, 2.0):
        loop.one_step(run, optimizer, table.inputs, table.targets)
        assert not run.stop(score)
    loop.assert_equal(dict(run.predictor().state_dict()), dict(run.model.state_dict()))


def test_the_predictor_is_a_copy_in_evaluation_mode_with_averaged_weights(table: Rows, loop: Any) -> None:
    run, optimizer = loop.started(table, Recipe(Dropout(0.5), Ema(0.9)))
    predict = run.predictor()
    first = predict(table.inputs)
    assert run.averaged is not None
    assert torch.equal(predict.layers[0].weight, run.averaged["layers.0.weight"])
    loop.one_step(run, optimizer, table.inputs, table.targets)
    assert torch.equal(predict(table.inputs), first)


def test_schedules_reach_the_layers_and_the_terms(table: Rows, loop: Any) -> None:
    run = Recipe(Dropout(Linear(0.0, 0.8, steps=4)), L2(Linear(0.0, 1.0, steps=4))).start(loop.network())
    layer = run.model.layers[1].poise_dropout
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.0)
    for step in range(6):
        assert float(layer.p) == pytest.approx(0.8 * min(step / 4, 1))
        loop.one_step(run, optimizer, table.inputs, table.targets)
        squares = sum(float(p.detach().square().sum()) for p in run.model.parameters() if p.dim() == 2)
        assert float(run.terms["l2"]) == pytest.approx(0.5 * min(step / 4, 1) * squares, rel=1e-5)


def test_a_dial_set_in_training_is_checked_as_at_the_start(loop: Any) -> None:
    run = Recipe(L2(0.1)).start(loop.network())
    for value, message in ((-1.0, "`L2.weight` must be"), (torch.tensor([0.1, 0.2]), "dial l2.weight has 2 numbers")):
        with pytest.raises(ArgumentError, match=message):
            run.set({"l2.weight": value})
    assert run.recipe == Recipe(L2(0.1))


def test_class_indices_become_distributions_in_the_models_dtype(table: Rows, loop: Any) -> None:
    run = Recipe(BatchNorm(), Dropout(0.5), Mixup(0.4)).start(loop.network().double())
    run.model.layers[1].eval()
    x, y = run.batch(table.inputs.double(), table.targets.argmax(1))
    assert y.dtype == torch.float64
    assert y.shape == (90, 3)
    assert torch.allclose(y.sum(1), torch.ones(90, dtype=torch.float64))
    assert not run.model.layers[1].training
    assert run.model.training
    F.cross_entropy(run.model(x), y)


def test_row_weights_come_back_with_the_batch(table: Rows, loop: Any) -> None:
    assert len(Recipe().start(loop.network()).batch(table.inputs, table.targets, torch.ones(90))) == 3
    _x, _y, weights = Recipe(Mixup(0.4)).start(loop.network()).batch(table.inputs, table.targets, torch.arange(90.0))
    assert weights.shape == (90,)
    assert not torch.equal(weights, torch.arange(90.0))


def test_conflicts_of_the_recipe_are_warned_of_at_the_start(loop: Any) -> None:
    with pytest.warns(PoiseWarning, match="both shrink the weights"):
        Recipe(L2(0.1), Decay(0.1)).start(loop.network())


def test_targets_that_are_mixed_already_are_warned_of_once(table: Rows, loop: Any) -> None:
    run = Recipe(Mixup(0.4)).start(loop.network(), classes=3)
    soft = 0.9 * table.targets + 0.1 / 3
    with pytest.warns(PoiseWarning, match="90 of 90 rows of the first batch .* mixup will do so again"):
        run.batch(table.inputs, soft)
    hard = Recipe(Mixup(0.4)).start(loop.network(), classes=3)
    hard.batch(table.inputs, table.targets)  # a warning would be an error


def test_an_average_that_never_began_is_warned_of_and_plain_weights_predict(table: Rows, loop: Any) -> None:
    run, _ = loop.started(table, Recipe(Swa(start=100)))
    with pytest.warns(PoiseWarning, match="swa starts at step 100, but training ended after 8 steps"):
        predict = run.predictor()
    assert torch.equal(predict.layers[0].weight, run.model.layers[0].weight)


def test_scores_that_are_never_numbers_are_warned_of(table: Rows, loop: Any) -> None:
    run, _ = loop.started(table, Recipe(Patience(9)))
    for _ in range(2):
        run.stop(float("nan"))
    assert run.best is None
    with pytest.warns(PoiseWarning, match="patience was given no score that is a finite number"):
        run.predictor()


def test_a_loss_that_is_not_finite_names_the_term_and_changes_no_weight(table: Rows, loop: Any) -> None:
    run, optimizer = loop.started(table, Recipe(L2(1e-3)), steps=2)
    before = {name: p.clone() for name, p in run.model.state_dict().items()}
    outputs = run.model(table.inputs)
    run.objective(F.cross_entropy(outputs, table.targets) * torch.inf).backward()
    with pytest.raises(TrainingError, match="term 'data' is inf at step 2"):
        run.update(optimizer)
    loop.assert_equal(dict(run.model.state_dict()), before)


@pytest.mark.parametrize("backward", [True, False], ids=["counted", "left out"])
def test_a_micro_batch_that_is_not_finite_is_refused_unless_its_loss_is_left_out(
    backward: bool, table: Rows, loop: Any
) -> None:
    run, optimizer = loop.started(table, Recipe(L2(1e-3)), steps=2)
    for factor in (torch.nan, 1.0):
        total = run.objective(F.cross_entropy(run.model(table.inputs), table.targets) * factor)
        if backward or factor == 1.0:
            (total / 2).backward()
    with pytest.raises(TrainingError, match="term 'data' is nan at step 2") if backward else nullcontext():
        run.update(optimizer)
    assert run.step_number == (2 if backward else 3)


class Writer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x.mul_(2.0))


@pytest.mark.filterwarnings("ignore:r_drop has no effect:poise.PoiseWarning")
def test_a_model_that_writes_into_its_inputs_is_refused_where_they_pass_twice(table: Rows) -> None:
    for recipe, refused in ((Recipe(RDrop(1.0)), True), (Recipe(L2(0.1)), False)):
        run = recipe.start(Writer(), classes=3)
        inputs, targets = run.batch(table.inputs.clone(), table.targets)
        outputs = run.model(inputs)
        if refused:
            with pytest.raises(ArgumentError, match="changed its inputs in place, and r_drop may"):
                run.objective(F.cross_entropy(outputs, targets), outputs=outputs)
        else:
            run.objective(F.cross_entropy(outputs, targets), outputs=outputs)


def test_no_gradient_is_an_error_that_says_what_to_call(table: Rows, loop: Any) -> None:
    run = Recipe().start(loop.network())
    with pytest.raises(TrainingError, match="no gradient at step 0: call backward"):
        run.update(torch.optim.SGD(run.model.parameters(), lr=0.1))


@pytest.mark.parametrize(
    ("recipe", "model", "rest", "message"),
    [
        (Recipe(), lambda loop: loop.network().requires_grad_(False), {}, "a parameter that requires grad; got none"),
        (Recipe(), lambda loop: nn.Linear(2, 2, device="meta"), {}, "must have real weights"),
        (Recipe(), lambda loop: loop.network(), {"seed": True}, "`Recipe.start.seed` must be an int; got True"),
        (Recipe(Dropout(torch.zeros(3))), lambda loop: loop.network(), {}, "dial dropout.p has 3 numbers"),
        (
            Recipe(Dropout(Linear(torch.zeros(3), 0.5, steps=2))),
            lambda loop: loop.network(),
            {},
            "dial dropout.p has 3 numbers",
        ),
        (
            Recipe(),
            lambda loop: Dropout(0.1).network(loop.network()),
            {},
            "without inserted layers; got those of dropout",
        ),
        (Recipe(), lambda loop: loop.network(), {"columns": torch.zeros(7)}, "`columns` must be an int64 tensor"),
        (
            Recipe(GroupLasso(0.1, where="inputs")),
            lambda loop: loop.network(),
            {"columns": torch.arange(5)},
            "one group for each of the 7 inputs of layers.0.weight, which group_lasso reads; got 5",
        ),
    ],
)
def test_a_run_that_cannot_work_is_refused_before_the_model_is_changed(
    recipe: Recipe, model: Any, rest: dict[str, Any], message: str, loop: Any
) -> None:
    given = model(loop)
    before = [name for name, _ in given.named_modules()]
    with pytest.raises(ArgumentError, match=message):
        recipe.start(given, **rest)
    assert [name for name, _ in given.named_modules()] == before


def test_another_models_optimizer_a_vector_loss_and_a_vector_score_are_refused(table: Rows, loop: Any) -> None:
    run = Recipe().start(loop.network())
    with pytest.raises(ArgumentError, match="holds none of this model's parameters"):
        run.update(torch.optim.SGD(loop.network().parameters(), lr=0.1))
    with pytest.raises(ArgumentError, match="must be a 0-d tensor"):
        run.objective(torch.ones(3))
    with pytest.raises(ArgumentError, match="must be one number"):
        run.stop(torch.ones(3))


def test_a_run_draws_no_global_random_number(rng_untouched: None, table: Rows, loop: Any) -> None:
    loop.started(table, loop.full(), 2)


def test_an_evaluation_in_inference_mode_leaves_a_run_that_trains(table: Rows, loop: Any) -> None:
    run, optimizer = loop.started(table, Recipe(Dropout(0.3), Ema(0.5)), 1)
    with run.evaluation() as model, torch.inference_mode():
        model(table.inputs)
    loop.one_step(run, optimizer, table.inputs, table.targets)
    assert run.step_number == 2
