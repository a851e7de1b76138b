"""Silent defects of other libraries in stopping, resuming and two-pass steps: their counterparts here have none.

The rest are in test_peer_defects.py.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import BatchNorm, Decay, Ema, Ensemble, Patience, Recipe, Sam, Swa

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
