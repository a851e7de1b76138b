"""A recipe in the user's own loop: against plain torch, a population of one, and itself resumed."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import (
    L1,
    L2,
    ArgumentError,
    CheckpointError,
    ClipNorm,
    Decay,
    Dropout,
    Ema,
    InputNoise,
    Patience,
    Recipe,
)  # fmt: skip
from poise.models.tabular import Mlp
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows
from poise.train.rows import epoch_order
from poise.train.run import Run

# What `full` is made of fights on purpose: everything at once.
pytestmark = [
    pytest.mark.filterwarnings("ignore:l2 and decay both shrink:poise.PoiseWarning"),
    pytest.mark.filterwarnings("ignore:averaged weights are not exactly zero:poise.PoiseWarning"),
]


OPTIMIZERS: list[Callable[[Any], torch.optim.Optimizer]] = [
    lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True),
    lambda p: torch.optim.RMSprop(p, lr=1e-3),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_an_empty_recipe_is_the_plain_loop_bit_for_bit(make: Any, table: Rows, loop: Any) -> None:
    alone, run = loop.network(), Recipe().start(loop.network())
    theirs, ours = make(alone.parameters()), make(run.model.parameters())
    classes = table.targets.argmax(1)
    for step in range(50):
        rows = torch.arange(20) + step % 5
        theirs.zero_grad()
        loss = F.cross_entropy(alone(table.inputs[rows]), classes[rows])
        loss.backward()
        theirs.step()
        assert torch.equal(loop.one_step(run, ours, table.inputs[rows], classes[rows]), loss)
    loop.assert_equal(dict(run.model.state_dict()), dict(alone.state_dict()))


def test_decay_is_adamw_bit_for_bit(table: Rows, loop: Any) -> None:
    alone, run = loop.network(), Recipe(Decay(0.1, where="all")).start(loop.network())
    theirs = torch.optim.AdamW(alone.parameters(), lr=1e-2, weight_decay=0.1)
    ours = torch.optim.AdamW(run.model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(50):
        theirs.zero_grad()
        F.cross_entropy(alone(table.inputs), table.targets).backward()
        theirs.step()
        loop.one_step(run, ours, table.inputs, table.targets)
    loop.assert_equal(dict(run.model.state_dict()), dict(alone.state_dict()))


def test_one_run_equals_a_population_of_one_in_float64(table: Rows, loop: Any) -> None:
    data = Rows(table.inputs.double(), table.targets.double())
    recipe = loop.full()
    population = Population(lambda: loop.network(1).double(), recipe, CrossEntropy(), lr=[1e-2], members=[0], seed=4,
                            classes=3)  # fmt: skip
    run = recipe.start(loop.network(1).double(), seed=4, classes=3)
    optimizer = torch.optim.Adam(run.model.parameters(), lr=1e-2)
    order = epoch_order(population.state.keys, 0, len(data))[0]
    for step in range(6):
        rows = order[step * 15 : step * 15 + 15]
        loop.one_step(run, optimizer, data.inputs[rows], data.targets[rows])
    population.train(data, 6, 15)
    # A bias in front of a batch norm has no gradient but rounding, which Adam scales up to whole steps.
    ours = {**dict(run.model.named_parameters()), **{f"average {name}": t for name, t in (run.averaged or {}).items()}}
    theirs = {**population.state.flat.views(), **{f"average {name}": t for name, t in population.weights().items()}}
    for name, tensor in ours.items():
        near = 1e-9 if name.endswith(("layers.0.bias", "layers.2.bias")) else 1e-12
        assert torch.allclose(theirs[name][0], tensor, rtol=0, atol=near), name
    for name in population.state.buffers:
        assert torch.allclose(population.state.buffers[name][0], dict(run.model.named_buffers())[name], rtol=1e-9)


def test_a_run_that_is_saved_after_any_of_20_steps_continues_bit_for_bit(table: Rows, loop: Any) -> None:
    def begin() -> tuple[Run, torch.optim.Optimizer]:
        run = loop.full().start(loop.network(), seed=2)
        return run, torch.optim.Adam(run.model.parameters(), lr=1e-2)

    whole, optimizer = begin()
    saved = []
    for step in range(20):
        buffer = io.BytesIO()
        torch.save([whole.model.state_dict(), optimizer.state_dict(), whole.state_dict()], buffer)
        saved.append(buffer)
        loop.trained_loop(table, whole, optimizer, step, step + 1)
    for step, buffer in enumerate(saved):
        buffer.seek(0)
        model, state, own = torch.load(buffer, weights_only=True)
        run, again = begin()
        run.model.load_state_dict(model)
        again.load_state_dict(state)
        run.load_state_dict(own)
        loop.trained_loop(table, run, again, step, 20)
        loop.assert_equal(loop.tensors_of(run), loop.tensors_of(whole))
        assert run.history == whole.history


def test_the_state_of_another_recipe_or_model_or_a_part_of_one_is_refused(loop: Any) -> None:
    run = loop.full().start(loop.network())
    state = run.state_dict()
    with pytest.raises(CheckpointError, match="another recipe"):
        Recipe(Dropout(0.1)).start(loop.network()).load_state_dict(state)
    with pytest.raises(CheckpointError, match="another model"):
        loop.full().start(Mlp(7, 3, width=9, depth=2)).load_state_dict(state)
    with pytest.raises(CheckpointError, match="without memory"):
        run.load_state_dict({name: value for name, value in state.items() if name != "memory"})


def test_step_with_a_closure_equals_the_written_out_step(table: Rows, loop: Any) -> None:
    first, second = loop.full().start(loop.network()), loop.full().start(loop.network())
    ours, theirs = (torch.optim.Adam(run.model.parameters(), lr=1e-2) for run in (first, second))
    for _ in range(3):

        def closure() -> torch.Tensor:
            x, y = first.batch(table.inputs, table.targets)
            outputs = first.model(x)
            loss = first.objective(F.cross_entropy(outputs, y), outputs=outputs)
            loss.backward()
            return loss

        assert torch.equal(first.step(ours, closure), loop.one_step(second, theirs, table.inputs, table.targets))
    loop.assert_equal(loop.tensors_of(first), loop.tensors_of(second))


def test_accumulated_micro_batches_equal_the_batch_with_penalties_counted_once(table: Rows, loop: Any) -> None:
    recipe = Recipe(L2(0.5), L1(0.01, subgradient=True))
    whole, parts = (recipe.start(loop.network().double()) for _ in range(2))
    ours, theirs = (torch.optim.SGD(run.model.parameters(), lr=0.1) for run in (whole, parts))
    inputs, targets = table.inputs.double(), table.targets.double()
    for _ in range(5):
        loop.one_step(whole, ours, inputs, targets)
        for rows in torch.arange(90).split(30):
            outputs = parts.model(inputs[rows])
            (parts.objective(F.cross_entropy(outputs, targets[rows]), outputs=outputs) / 3).backward()
        parts.update(theirs)
    for name, parameter in whole.model.named_parameters():
        assert torch.allclose(dict(parts.model.named_parameters())[name], parameter, rtol=1e-11, atol=1e-13)
    assert parts.step_number == whole.step_number == 5


def test_micro_batches_of_one_step_draw_differently_and_equal_steps_draw_equally(table: Rows, loop: Any) -> None:
    def outputs_of(run: Run, calls: int) -> list[torch.Tensor]:
        found = []
        for _ in range(calls):
            x, _ = run.batch(table.inputs, table.targets)
            found.append(run.model(x).detach())
            run.objective(found[-1].sum())
        return found

    first, second = (Recipe(Dropout(0.5), InputNoise(0.1)).start(loop.network()) for _ in range(2))
    ours, theirs = outputs_of(first, 3), outputs_of(second, 3)
    assert not torch.equal(ours[0], ours[1])
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_groups_shrink_and_threshold_by_their_own_learning_rate(table: Rows, loop: Any) -> None:
    run = Recipe(Decay(0.5), L1(0.2)).start(loop.network())
    weights = [layer.weight for layer in run.model.layers if isinstance(layer, nn.Linear)]
    rest = [p for p in run.model.parameters() if p.dim() == 1]
    groups = [{"params": [w], "lr": lr} for w, lr in zip(weights, (0.1, 0.0, 0.01), strict=True)]
    optimizer = torch.optim.SGD([*groups, {"params": rest, "lr": 0.1}], lr=1.0)
    before = [w.detach().clone() for w in weights]
    run.objective(sum((p * 0.0).sum() for p in run.model.parameters())).backward()  # type: ignore[union-attr]
    run.update(optimizer)
    for weight, old, lr in zip(weights, before, (0.1, 0.0, 0.01), strict=True):
        shrunk = old * (1 - 0.5 * lr)
        assert torch.allclose(weight, shrunk.sign() * (shrunk.abs() - 0.2 * lr).clamp(min=0), atol=1e-7)
    assert torch.equal(weights[1], before[1])


def test_several_optimizers_take_one_step_together(table: Rows, loop: Any) -> None:
    recipe = Recipe(Decay(0.1), L1(1e-3), Ema(0.9))
    whole, split = recipe.start(loop.network()), recipe.start(loop.network())
    ours = torch.optim.Adam(whole.model.parameters(), lr=1e-2)
    named = list(split.model.parameters())
    theirs = [torch.optim.Adam(named[:2], lr=1e-2), torch.optim.Adam(named[2:], lr=1e-2)]
    for _ in range(5):
        loop.one_step(whole, ours, table.inputs, table.targets)
        loop.one_step(split, theirs, table.inputs, table.targets)  # type: ignore[arg-type]  # update takes several
    loop.assert_equal(loop.tensors_of(whole), loop.tensors_of(split))


def test_frozen_tied_scalar_empty_and_transposed_parameters_train_as_in_a_plain_loop(table: Rows, loop: Any) -> None:
    torch.manual_seed(0)
    alone = loop.Odd()
    run = Recipe(Decay(0.1, where="all"), ClipNorm(1e9)).start(copy.deepcopy(alone))
    frozen = run.model.frozen.weight.clone()
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2, weight_decay=0.0)
    theirs = torch.optim.AdamW(alone.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(10):
        loop.one_step(run, optimizer, table.inputs, table.targets)
        theirs.zero_grad()
        F.cross_entropy(alone(table.inputs), table.targets).backward()
        theirs.step()
    loop.assert_equal(dict(run.model.state_dict()), dict(alone.state_dict()))
    assert torch.equal(run.model.frozen.weight, frozen)


def learners(recipe: Recipe) -> tuple[Run, torch.optim.Optimizer]:
    torch.manual_seed(0)
    run = recipe.start(nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)))
    return run, torch.optim.Adam(run.model.parameters(), lr=1e-2)


@pytest.mark.parametrize("replaced", [True, False])
def test_what_learns_but_was_not_there_at_the_start_is_refused(table: Rows, loop: Any, replaced: bool) -> None:
    model = nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))
    model[2].requires_grad_(False)
    run = Recipe(Decay(0.1), Ema(0.9)).start(model)
    if replaced:
        model[2] = nn.Linear(6, 3)
    model[2].requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ArgumentError, match=r"got 2\.weight too, which was frozen, or not there"):
        loop.one_step(run, optimizer, table.inputs, table.targets)
    loop.assert_equal(before, dict(model.state_dict()))


def test_what_is_frozen_for_a_while_is_kept_and_restored(table: Rows, loop: Any) -> None:
    run, optimizer = learners(Recipe(L2(0.1), L1(1e-3), ClipNorm(1.0), Ema(0.5), Patience(3)))
    run.model[0].requires_grad_(False)
    held = run.model[0].weight.clone()
    loop.one_step(run, optimizer, table.inputs, table.targets)
    assert torch.equal(run.model[0].weight, held)
    run.model[0].requires_grad_(True)
    loop.one_step(run, optimizer, table.inputs, table.targets)
    assert not torch.equal(run.model[0].weight, held)
    with run.evaluation() as model:
        best = copy.deepcopy(model.state_dict())
    run.stop(1.0)
    loop.one_step(run, optimizer, table.inputs, table.targets)
    run.stop(2.0)
    loop.assert_equal(best, dict(run.predictor().state_dict()))


def test_an_optimizer_may_hold_parameters_of_the_loss_too(table: Rows, loop: Any) -> None:
    run, _ = learners(Recipe(Decay(0.1)))
    scale = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([*run.model.parameters(), scale], lr=0.1)
    value = torch.ones(())
    for _ in range(3):
        loss = F.cross_entropy(run.model(table.inputs), table.targets)
        value = value - 0.1 * loss.detach()
        run.objective(scale * loss).backward()
        assert run.update(optimizer)
    torch.testing.assert_close(scale.detach(), value)  # by each step's own gradient, not by a sum of all so far


def test_penalties_count_a_tied_weight_once(loop: Any) -> None:
    run = Recipe(L2(2.0, where="all")).start(loop.Odd())
    terms_of = {id(p): float(p.detach().square().sum()) for p in run.model.parameters() if p.requires_grad}
    run.objective(torch.tensor(0.0))
    assert float(run.terms["l2"]) == pytest.approx(sum(terms_of.values()), rel=1e-6)


@pytest.mark.parametrize("limit", [1e-2, 1e9])
def test_sparse_gradients_are_clipped_and_applied_as_dense_ones(limit: float, loop: Any) -> None:
    class Words(nn.Module):
        def __init__(self, sparse: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Embedding(10, 4, sparse=sparse)
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.table(x).sum(1))

    words, classes = torch.tensor([[1, 1, 3], [3, 9, 9]]), torch.tensor([0, 2])
    found = []
    for sparse in (True, False):
        run = Recipe(ClipNorm(limit), Decay(0.1)).start(Words(sparse))
        optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
        for _ in range(5):
            loop.one_step(run, optimizer, words, classes)
        found.append(torch.cat([p.detach().flatten() for p in run.model.parameters()]))
    assert torch.allclose(found[0], found[1], atol=1e-6)
