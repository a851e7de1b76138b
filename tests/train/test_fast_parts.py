"""The batch stage by a kernel is the parts' own, draw for draw; idle members pass parts by; steps may wait."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import (
    L1,
    BatchNorm,
    ClipNorm,
    Cosine,
    CutMix,
    Decay,
    Dropout,
    Ema,
    HiddenNoise,
    InputNoise,
    LabelSmoothing,
    Mixup,
    OneCycle,
    Recipe,
    SwapNoise,
    WeightNoise,
)  # fmt: skip
from poise.core.blocks import Blocks
from poise.core.context import Batch
from poise.kernels import available, native
from poise.models.tabular import ColumnPlan, Mlp, TabularNet
from poise.train import step as step_module
from poise.train.fast_batch import batch_by_kernel
from poise.train.losses import CrossEntropy, SeveralLosses, SquaredError
from poise.train.optimizers import Adam
from poise.train.population import Population, Rows
from poise.train.program import resolved
from poise.train.rows import Picked
from poise.train.step import fold_members
from poise.train.work import Work

pytestmark = pytest.mark.skipif(not available(), reason="the native kernels are not in use")

GENERATOR = torch.Generator().manual_seed(1)
GROUPS = torch.tensor([0, 1, 2, 2, 2, 4, 3, 4])  # one group is not side by side, and the last ids are no group's
X = torch.randn(70, 8, generator=GENERATOR)
Y = F.one_hot((X[:, 0] > 0).long() + (X[:, 1] > 0).long(), 3).float()
W = torch.rand(70, generator=GENERATOR)
MEMBERS = 4
ON_AND_OFF = torch.tensor([0.0, 1.0, 0.5, 0.0])


def population(recipe: Recipe, dials: dict[str, Tensor] | None = None, **rest: Any) -> Population:
    given: dict[str, Any] = {"columns": GROUPS, "classes": 3, "seed": 5, "optimizer": Adam(eps=1e-2)} | rest
    loss = given.pop("loss", CrossEntropy())
    build = given.pop("build", lambda: Mlp(8, 3, width=12, depth=2))
    return Population(build, recipe, loss, lr=[1e-2] * MEMBERS, dials=dials or {}, **given)


def both_batches(one: Population, data: Rows, rows: int = 20) -> tuple[Batch, Batch]:
    """Return the edited batch of a step by the kernel and by the parts themselves."""
    index = torch.stack([torch.randperm(len(data), generator=GENERATOR)[:rows] for _ in range(MEMBERS)])
    picked, work = Picked(data, index), Work(MEMBERS)
    ours = batch_by_kernel(work, one.program, one.state, resolved(one.program, one.state), picked)
    assert ours is not None
    work.run()
    return ours, fold_members(one.program, one.state, "batch", picked.batch())


@pytest.mark.parametrize("columns", [GROUPS, None])
@pytest.mark.parametrize("rows", [1, 2, 20, 33])
def test_swapped_and_cut_values_are_the_same_bit_for_bit(columns: Tensor | None, rows: int) -> None:
    for recipe in (Recipe(SwapNoise(0.3)), Recipe(CutMix(share=0.7, alpha=0.8)), Recipe(SwapNoise(0.5), CutMix(1.0))):
        ours, theirs = both_batches(population(recipe, columns=columns), Rows(X, Y, W), rows)
        assert torch.equal(ours.inputs, theirs.inputs)
        torch.testing.assert_close(ours.targets, theirs.targets, rtol=1e-6, atol=1e-7)
        assert ours.weights is not None
        torch.testing.assert_close(ours.weights, theirs.weights, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("columns", [GROUPS, None])
@pytest.mark.parametrize("where", ["numeric", "all"])
def test_noise_falls_on_the_same_columns(columns: Tensor | None, where: str) -> None:
    ours, theirs = both_batches(population(Recipe(InputNoise(0.3, where=where)), columns=columns), Rows(X, Y))
    torch.testing.assert_close(ours.inputs, theirs.inputs, rtol=1e-6, atol=2e-6)


EVERY = Recipe(InputNoise(0.2), SwapNoise(0.3), CutMix(share=0.8), Mixup(0.7, share=0.9), LabelSmoothing(0.2))


def test_all_parts_one_after_the_other_and_each_off_for_some_members() -> None:
    dials = {key: ON_AND_OFF.roll(place) * float(value) for place, (key, value) in enumerate(EVERY.dials().items())}
    ours, theirs = both_batches(population(EVERY, dials), Rows(X, Y, W))
    for own, other in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=5e-6)


def test_a_member_whose_parts_are_all_off_gets_its_rows_untouched() -> None:
    dials = {key: torch.tensor([0.0, *[float(value)] * (MEMBERS - 1)]) for key, value in EVERY.dials().items()}
    one, index = population(EVERY, dials), torch.arange(15).expand(MEMBERS, -1)
    work = Work(MEMBERS)
    ours = batch_by_kernel(work, one.program, one.state, resolved(one.program, one.state), Picked(Rows(X, Y), index))
    work.run()
    assert ours is not None
    assert torch.equal(ours.inputs[0], X[:15])
    assert torch.equal(ours.targets[0], Y[:15])
    assert not torch.equal(ours.inputs[1], X[:15])


@pytest.mark.parametrize("parts", [(LabelSmoothing(0.2),), (CutMix(1.0), LabelSmoothing(0.3)), (Mixup(0.5),)])
def test_labels_of_several_tasks_some_of_them_missing(parts: tuple[Any, ...]) -> None:
    blocks = Blocks((2, None, 3), presence=True)
    known = (torch.rand(70, 3, generator=GENERATOR) < 0.7).float()
    own = [F.one_hot((X[:, 0] > 0).long(), 2) * known[:, :1], X[:, 1:2] * known[:, 1:2],
           F.one_hot((X[:, 3] > 0).long() + (X[:, 4] > 0).long(), 3) * known[:, 2:]]  # fmt: skip
    data = Rows(X, torch.cat([*own, known], dim=1))
    loss = SeveralLosses(("a", "b", "c"), blocks, (CrossEntropy(), SquaredError(), CrossEntropy()))
    one = population(Recipe(*parts), classes=None, blocks=blocks, loss=loss, build=lambda: Mlp(8, 6, width=8, depth=1))
    ours, theirs = both_batches(one, data)
    torch.testing.assert_close(ours.targets, theirs.targets, rtol=1e-6, atol=1e-6)


SUPERSET = Recipe(
    *EVERY, BatchNorm(), Dropout(0.3), HiddenNoise(0.2), ClipNorm(0.5), Decay(0.1), L1(1e-3), Ema(0.9, warmup=False)
)


def superset(dials: bool = True, **rest: Any) -> Population:
    """Return a population of which every part is off for two members of four, as in a study."""
    declared = SUPERSET.declared()
    own = {key: torch.where(ON_AND_OFF.roll(place) > 0, float(value), declared[key].neutral)
           for place, (key, value) in enumerate(SUPERSET.dials().items())}  # fmt: skip
    plan = ColumnPlan((0, 1, 2, 2, 2, 3, 3, 3), ("numeric", "numeric", "category", "numeric"))
    edges = torch.linspace(-2, 2, 9).expand(5, 9).contiguous()
    build = lambda: TabularNet(plan, 3, width=16, depth=2, embed_above=2, edges=edges)  # noqa: E731
    columns = torch.tensor(plan.groups)
    return population(SUPERSET, own if dials else None, build=build, columns=columns, **rest)


def assert_equal_states(one: Population, other: Population) -> None:
    for name in ("first", "second"):
        assert torch.equal(one.state.optimizer[name], other.state.optimizer[name])
    for ours, theirs in ((one.state.flat.views(), other.state.flat.views()), (one.weights(), other.weights()),
                         (one.state.buffers, other.state.buffers)):  # fmt: skip
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]), name
    assert torch.equal(one.state.keys, other.state.keys)


def test_a_study_s_step_is_that_of_torch() -> None:
    with native(False):
        slow = superset()
        terms = slow.train(Rows(X, Y), 3, 20)
    fast = superset()
    for name, term in fast.train(Rows(X, Y), 3, 20).items():
        torch.testing.assert_close(term, terms[name], rtol=1e-4, atol=1e-5)
    for name, weight in fast.weights().items():
        torch.testing.assert_close(weight, slow.weights()[name], rtol=1e-4, atol=2e-5)
    for name, buffer in fast.state.buffers.items():
        torch.testing.assert_close(buffer, slow.state.buffers[name], rtol=1e-4, atol=1e-5)


def test_steps_that_wait_for_one_another_are_the_same_as_one_by_one_bit_for_bit() -> None:
    schedule = OneCycle(1.0, 40)
    together, alone = superset(schedule=schedule), superset(schedule=schedule)
    means = together.train(Rows(X, Y), 21, 20)
    sums: dict[str, Tensor] = {}
    for _ in range(21):
        sums = {name: sums.get(name, 0) + term for name, term in alone.train(Rows(X, Y), 1, 20).items()}
    assert_equal_states(together, alone)
    for name, mean in means.items():
        assert torch.equal(mean, sums[name] / 21)


def test_members_whose_parts_are_off_are_what_they_are_alone() -> None:
    whole = superset()
    whole.train(Rows(X, Y), 12, 20)
    other = superset()
    other.keep([3, 0])
    other.train(Rows(X, Y), 12, 20)
    assert torch.equal(whole.state.flat.data[[3, 0]], other.state.flat.data)


def test_what_waits_is_done_when_a_later_step_fails() -> None:
    one, other = superset(), superset()
    real, calls = one._order, []

    def fails(epoch: int, count: int) -> Tensor:
        calls.append(epoch)
        if len(calls) == 3:  # of the first step, of the two that end its epoch, of the next epoch's
            raise KeyboardInterrupt
        return real(epoch, count)

    one._order = fails  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        one.train(Rows(X, Y), 6, 20)
    other.train(Rows(X, Y), 3, 20)
    assert_equal_states(one, other)


def test_steps_that_were_begun_at_once_and_fail_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = superset(), superset()
    real, asked = step_module.add_update, []

    def fails(work: Work, *given: Any) -> None:
        asked.append(work.steps)
        if work.steps > 1:
            raise KeyboardInterrupt
        real(work, *given)

    monkeypatch.setattr(step_module, "add_update", fails)
    with pytest.raises(KeyboardInterrupt):
        one.train(Rows(X, Y), 6, 20)
    assert asked == [1, 2]
    monkeypatch.undo()
    other.train(Rows(X, Y), 1, 20)
    assert_equal_states(one, other)


def steps_at_once(one: Population, monkeypatch: pytest.MonkeyPatch, steps: int = 21, size: int = 7) -> list[int]:
    begun, real = [], Work.begin
    monkeypatch.setattr(Work, "begin", lambda self, steps: (begun.append(steps), real(self, steps)))
    one.train(Rows(X, Y), steps, size)
    monkeypatch.undo()
    return begun


def test_steps_are_put_on_the_list_at_once_up_to_eight_of_one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_at_once(superset(), monkeypatch) == [1, 7, 2, 6, 4, 1]  # epochs of ten steps


def test_steps_go_one_by_one_where_a_dial_moves_or_torch_does_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    moving = population(Recipe(Dropout(Cosine(0.5, 0.1, steps=20))))
    assert steps_at_once(moving, monkeypatch, 5) == [1] * 5
    by_torch = population(Recipe(WeightNoise(0.1), Decay(0.01)))
    assert steps_at_once(by_torch, monkeypatch, 5) == [1] * 5


def test_several_steps_of_which_torch_does_a_part_are_an_error() -> None:
    work = Work(2)
    work.begin(3)
    with pytest.raises(RuntimeError, match="3 steps were begun at once"):
        work.run()


def test_a_diverged_member_is_marked_when_steps_wait() -> None:
    data = Rows(torch.where(torch.arange(70)[:, None] == 3, torch.inf, X), Y)
    one = population(Recipe(), build=lambda: Mlp(8, 3, width=8, depth=1))
    one.train(data, 9, 20, rows=torch.stack([torch.arange(0, 60), *[torch.arange(10, 70)] * (MEMBERS - 1)]))
    assert one.diverged.tolist() == [True, False, False, False]


def test_the_reported_penalty_is_the_weighted_sum_of_absolute_weights() -> None:
    weight = torch.tensor([0.0, 1e-3, 0.5, 0.0])
    one = population(Recipe(L1(0.1)), {"l1.weight": weight})
    own = [tensor.abs().flatten(1).sum(1) for name, tensor in one.state.flat.views().items() if tensor.dim() > 2]
    expected = weight * torch.stack(own).sum(0)
    torch.testing.assert_close(one.train(Rows(X, Y), 1, 20)["l1"], expected, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("embedding", ["periodic", "piecewise"])
def test_gradients_are_those_of_float64(activation: str, embedding: str) -> None:
    plan = ColumnPlan((0, 1, 2, 2, 2, 3, 3, 3), ("numeric", "numeric", "category", "numeric"))
    edges = torch.linspace(-2, 2, 9).expand(5, 9).contiguous()

    def build() -> nn.Module:
        return TabularNet(plan, 3, width=16, depth=2, embed_above=2, edges=edges, embedding=embedding,
                          activation=activation)  # fmt: skip

    one = population(Recipe(), build=build, columns=None)
    ready = one.program.fast.ready(one.state.flat, Batch(X.expand(MEMBERS, -1, -1), Y.expand(MEMBERS, -1, -1)))
    assert ready is not None
    work = Work(MEMBERS)
    batch = Batch(X.expand(MEMBERS, -1, -1).contiguous(), Y.expand(MEMBERS, -1, -1).contiguous())
    terms, grads = ready.add(work, one.state.flat, one.state.buffers, one.state.keys, batch)
    work.run()
    for member in range(MEMBERS):
        twin = one.stack().network(member).double()
        loss = F.cross_entropy(twin(X.double()), Y.double())
        loss.backward()
        torch.testing.assert_close(terms["data"][member].double(), loss.detach(), rtol=1e-6, atol=1e-6)
        for name, parameter in twin.named_parameters():
            own = one.state.flat.named(grads)[name][member]
            torch.testing.assert_close(own.double(), parameter.grad, rtol=2e-5, atol=2e-6)


def test_batch_statistics_are_counted_anew_only_where_they_matter() -> None:
    dials = {"batch_norm.share": torch.tensor([1.0, 0.0, 1.0, 0.0]), "ema.decay": torch.tensor([0.9, 0.9, 0.0, 0.0])}
    one = population(Recipe(BatchNorm(), Ema(0.9, warmup=False)), dials)
    one.train(Rows(X, Y), 5, 20)
    found = one.buffers()
    one.restore(None)
    one._sample = Picked(Rows(X, Y), torch.arange(70).expand(MEMBERS, -1))
    with native(False):
        twins = one.buffers()
    for name, buffer in one.state.buffers.items():
        assert (found[name] != buffer).flatten(1).any(1).tolist() == [True, False, False, False]
        torch.testing.assert_close(found[name], twins[name], rtol=1e-5, atol=1e-6)
