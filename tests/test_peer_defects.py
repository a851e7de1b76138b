"""Silent defects that were found by running other libraries, each as a test that its counterpart here has none.

The numbers in the names of the cases are what the other library gave; docs/peers.md names them.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import (
    L1,
    L2,
    BatchNorm,
    CutMix,
    Decay,
    Dropout,
    DropPath,
    Ema,
    Ensemble,
    LabelSmoothing,
    Mixup,
    Patience,
    PoiseWarning,
    Recipe,
    Sam,
    Swa,
)
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.network import reestimate
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

pytestmark = pytest.mark.usefixtures("seeded")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def rows(count: int = 32) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 5), torch.arange(count) % 3


def steps(run: Any, optimizer: Any, count: int, after: Any = lambda run: None) -> Any:
    x, y = rows()
    for _ in range(count):
        inputs, targets = run.batch(x, y)
        outputs = run.model(inputs)
        run.objective(F.cross_entropy(outputs, targets), outputs=outputs).backward()
        run.update(optimizer)
        after(run)
    return run


# --- averages --------------------------------------------------------------------------------------------------------


def test_the_average_of_0_3_and_6_is_3_and_not_2_25() -> None:
    run = Recipe(Swa(start=0)).start(nn.Linear(1, 1, bias=False))
    optimizer = torch.optim.SGD(run.model.parameters(), lr=1.0)
    for value in (0.0, 3.0, 6.0):
        run.model.weight.data.fill_(value)
        run.objective(run.model(torch.zeros(1, 1)).sum()).backward()  # a gradient of 0: the step moves nothing
        run.update(optimizer)
    assert run.averaged is not None
    assert float(run.averaged["weight"]) == 3.0


def test_a_short_last_batch_counts_by_its_rows() -> None:
    norm = nn.BatchNorm1d(1)
    reestimate(norm, [torch.zeros(8, 1), torch.full((2, 1), 10.0)])
    assert float(norm.running_mean) == pytest.approx(2.0), "5.0 if batches were weighted equally"


def test_swa_ends_with_the_statistics_of_the_averaged_weights() -> None:
    run = Recipe(Swa(start=2)).start(nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)))
    steps(run, torch.optim.SGD(run.model.parameters(), lr=0.5), 8)
    x, _ = rows(64)
    model = run.predictor(x.split(32))
    hidden = model[0](x)
    torch.testing.assert_close(model[1].running_mean, hidden.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model[1].running_var, hidden.var(0), rtol=1e-4, atol=1e-5)


def test_an_average_in_half_precision_moves() -> None:
    run = Recipe(Ema(0.999, warmup=False)).start(nn.Linear(1, 1, bias=False).bfloat16())
    run.model.weight.data.fill_(1.0)
    run.memory = run.recipe.remember({"weight": run.model.weight})
    optimizer = torch.optim.SGD(run.model.parameters(), lr=1.0)
    for _ in range(100):
        run.model.weight.data.fill_(2.0)
        run.objective(run.model(torch.zeros(1, 1, dtype=torch.bfloat16)).sum()).backward()
        run.update(optimizer)
    assert float(run.memory["ema"]["shadow/weight"]) == pytest.approx(2 - 0.999**100, rel=1e-4)


# --- layers ----------------------------------------------------------------------------------------------------------


def test_stochastic_depth_runs_the_branch_as_often_as_p_says_and_not_never() -> None:
    class Block(nn.Module):
        residual_branches = ("branch",)

        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Identity()

        def forward(self, x: Tensor) -> Any:
            return x + self.branch(x)

    model = DropPath(0.2, depth="uniform").network(Block())
    kept = float((model(torch.ones(100_000, 1)) > 1).float().mean())
    assert abs(kept - 0.8) < 0.01, "p is the share dropped"


@pytest.mark.parametrize("part", [L2(0.5), L1(0.5, subgradient=True)], ids=["l2", "l1"])
def test_a_penalty_reaches_hidden_layers_whose_input_needs_a_gradient(part: Any) -> None:
    run = Recipe(part).start(mlp())
    x, _ = rows()
    (0.0 * run.model(x).sum()).backward()
    run.objective(0.0 * run.model(x).sum()).backward()
    for layer in (run.model[0], run.model[2], run.model[4]):
        expected = 0.5 * (layer.weight if isinstance(part, L2) else layer.weight.sign())
        torch.testing.assert_close(layer.weight.grad, expected.detach())


def test_each_member_has_its_own_dropout_rate() -> None:
    dials = {"dropout.p": torch.tensor([0.0, 0.9])}
    population = Population(mlp, Recipe(Dropout(0.5)), CrossEntropy(), lr=[0.0, 0.0], dials=dials, classes=3)
    x, y = rows()
    data = Rows(x, F.one_hot(y, 3).float())
    first, second = (population.train(data, 1, 32)["data"] for _ in range(2))
    assert float(first[0]) == pytest.approx(float(second[0]), rel=1e-5), "the first drops nothing"
    assert float(first[1]) != pytest.approx(float(second[1]), rel=1e-2)


# --- penalties -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [L1(0.1), L2(0.1)], ids=["l1", "l2"])
def test_a_penalty_is_there_at_every_step_and_not_at_the_first_only(part: Any) -> None:
    run = Recipe(part).start(mlp())
    seen: list[float] = []
    steps(run, torch.optim.SGD(run.model.parameters(), lr=0.0), 4, lambda run: seen.append(float(run.terms[part.name])))
    assert seen[0] > 0
    assert seen == [seen[0]] * 4


def test_l2_is_the_square_and_not_the_norm() -> None:
    run = Recipe(L2(2.0)).start(nn.Linear(2, 1, bias=False))
    run.model.weight.data[:] = torch.tensor([3.0, 4.0])
    run.objective(torch.zeros(()))
    assert float(run.terms["l2"]) == 25.0, "5 would be the norm"


@pytest.mark.parametrize(("optimizer", "zeros"), [("SGD", 45), ("Adam", 45)])
def test_l1_leaves_exact_zeros_where_a_penalty_in_the_loss_leaves_none(optimizer: str, zeros: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 50, generator=generator)
    y = x[:, :5].sum(1, keepdim=True) + 0.1 * torch.randn(200, 1, generator=generator)
    found = {}
    for part in (L1(0.1), L1(0.1, subgradient=True)):
        run = Recipe(part).start(nn.Linear(50, 1, bias=False))
        make = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}[optimizer]
        steps_left = make(run.model.parameters(), lr=0.05)
        for _ in range(400):
            run.objective(0.5 * F.mse_loss(run.model(x), y)).backward()
            run.update(steps_left)
        found[part.subgradient] = int((run.model.weight == 0).sum())
    assert found == {False: zeros, True: 0}


# --- targets ---------------------------------------------------------------------------------------------------------


def test_mixup_and_smoothing_give_one_target_in_either_order_of_listing() -> None:
    x, y = rows()
    found = []
    for parts in ((Mixup(0.4), LabelSmoothing(0.4)), (LabelSmoothing(0.4), Mixup(0.4))):
        run = Recipe(*parts).start(mlp(), seed=3)
        found.append(run.batch(x, y)[1])
    assert torch.equal(*found)


def test_targets_of_mixup_and_cutmix_are_the_inputs_shares_and_the_meeting_is_warned_of() -> None:
    with pytest.warns(PoiseWarning, match="mix targets twice"):
        run = Recipe(Mixup(1.0), CutMix()).start(nn.Linear(300, 300), seed=3, classes=300)
    inputs, targets = run.batch(torch.eye(300), torch.eye(300))
    assert inputs.shape == targets.shape
    mixed = Recipe(Mixup(1.0)).start(nn.Linear(300, 300), seed=3, classes=300)
    inputs, targets = mixed.batch(torch.eye(300), torch.eye(300))
    assert torch.equal(inputs, targets), "what share of which row is in a row, the target says"


def test_a_cut_rows_target_is_the_share_of_its_columns() -> None:
    part = CutMix()
    batch = Batch(torch.arange(40.0).reshape(4, 10), torch.eye(4))
    ctx = Context(0, Rng(key(5)), classes=4)
    mixed, _ = part.batch(batch, {}, ctx)
    for row in range(4):
        own = float((mixed.inputs[row] == batch.inputs[row]).float().mean())
        assert float(mixed.targets[row, row]) == pytest.approx(own)


def test_soft_targets_that_are_smoothed_again_are_noticed() -> None:
    run = Recipe(LabelSmoothing(0.1)).start(mlp(), classes=3)
    x, y = rows()
    with pytest.warns(PoiseWarning, match="label_smoothing will do so again"):
        run.batch(x, 0.9 * F.one_hot(y, 3) + 0.1 / 3)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_odd_batches_and_a_batch_of_three_are_batches(count: int) -> None:
    x, y = rows(count)
    inputs, targets = Recipe(Mixup(0.4)).start(mlp()).batch(x, y)
    assert inputs.shape == x.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(count))


def test_mixup_mixes_numbers_as_it_mixes_inputs() -> None:
    values = torch.arange(12.0)[:, None]
    inputs, targets = Recipe(Mixup(1.0)).start(nn.Linear(1, 1)).batch(values, values)
    assert torch.equal(inputs, targets)


# --- stopping --------------------------------------------------------------------------------------------------------


def stopped(scores: list[float], patience: int) -> tuple[Any, list[dict[str, Tensor]]]:
    run = Recipe(Patience(patience)).start(mlp())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.5)
    seen = []
    for score in scores:
        steps(run, optimizer, 1)
        seen.append(copy.deepcopy(dict(run.model.state_dict())))
        if run.stop(score):
            break
    return run, seen


def test_the_best_weights_come_back_also_when_training_runs_to_its_end() -> None:
    run, seen = stopped([0.5, 0.3, 0.4], patience=10)
    assert not run.stopped
    for name, tensor in run.predictor().state_dict().items():
        assert torch.equal(tensor, seen[1][name])


def test_the_true_minimum_is_restored_when_it_is_within_the_threshold_of_patience() -> None:
    run = Recipe(Patience(10, minimum_change=0.1)).start(mlp())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.5)
    seen = []
    for score in (0.5, 0.45, 0.6):
        steps(run, optimizer, 1)
        seen.append(copy.deepcopy(dict(run.model.state_dict())))
        run.stop(score)
    for name, tensor in run.predictor().state_dict().items():
        assert torch.equal(tensor, seen[1][name])


def test_best_and_wait_survive_a_resume() -> None:
    scores = [0.5, 0.3, 0.4, 0.4, 0.4]
    whole, _ = stopped(scores, patience=3)
    first, _ = stopped(scores[:3], patience=3)
    again = Recipe(Patience(3)).start(mlp())
    again.load_state_dict(first.state_dict())
    assert [again.stop(score) for score in scores[3:]] == [False, True]
    assert whole.stopped
    assert int(again.memory["patience"]["best_step"]) == int(whole.memory["patience"]["best_step"]) == 2


def test_a_members_best_is_what_the_ensemble_averages() -> None:
    run, seen = stopped([0.5, 0.3, 0.9], patience=1)
    x, _ = rows()
    member = run.predictor()
    best = mlp()
    best.load_state_dict(seen[1])
    torch.testing.assert_close(Ensemble((member,), space="output")(x), best(x))


# --- two passes, several of everything -------------------------------------------------------------------------------


def test_sams_second_pass_moves_batch_statistics_once() -> None:
    x, y = rows()
    moved = []
    for recipe in (Recipe(), Recipe(Sam(0.5))):
        torch.manual_seed(1)
        run = recipe.start(nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)))

        def closure(run: Any = run) -> Tensor:
            loss: Tensor = run.objective(F.cross_entropy(run.model(x), y))
            loss.backward()
            return loss

        run.step(torch.optim.SGD(run.model.parameters(), lr=0.1), closure)
        moved.append({n: b.clone() for n, b in run.model.named_buffers()})
    assert all(torch.equal(moved[0][name], moved[1][name]) for name in moved[0])
    assert int(moved[1]["1.num_batches_tracked"]) == 1


def test_biases_and_norms_of_any_name_are_not_decayed() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale_of_mine = nn.LayerNorm(5)
            self.weights_without_the_word = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Any:
            return self.weights_without_the_word(self.scale_of_mine(x))

    run = Recipe(Decay(0.5)).start(Odd())
    before = copy.deepcopy(run.model.state_dict())
    run.objective(0.0 * run.model(torch.randn(4, 5)).sum()).backward()
    run.update(torch.optim.SGD(run.model.parameters(), lr=0.1))
    changed = {name for name, p in run.model.state_dict().items() if not torch.equal(p, before[name])}
    assert changed == {"weights_without_the_word.weight"}


def test_a_resume_continues_from_the_weights_and_not_from_the_average() -> None:
    run = Recipe(Ema(0.5)).start(mlp())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.5)
    steps(run, optimizer, 3)
    saved = {"model": copy.deepcopy(run.model.state_dict()), "run": run.state_dict()}
    again = Recipe(Ema(0.5)).start(mlp())
    again.model.load_state_dict(saved["model"])
    again.load_state_dict(saved["run"])
    assert run.averaged is not None
    for name, weight in again.model.state_dict().items():
        assert torch.equal(weight, run.model.state_dict()[name])
        assert not torch.equal(weight, run.averaged[name])


def test_batch_norm_keeps_its_momentum_after_averaging() -> None:
    run = Recipe(BatchNorm(), Swa(start=0)).start(mlp())
    steps(run, torch.optim.SGD(run.model.parameters(), lr=0.1), 2)
    x, _ = rows()
    with run.evaluation([x]):
        pass
    assert {layer.momentum for layer in run.model.modules() if hasattr(layer, "momentum")} == {0.1}
