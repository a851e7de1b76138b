"""The loss of several tasks: each task's own on the rows that know it, also where rows were mixed or smoothed."""

import pytest
import torch
from torch.nn import functional as F

from poise import CutMix, LabelSmoothing, Mixup
from poise.core.blocks import Blocks
from poise.core.context import Batch, Context
from poise.core.mixing import blend
from poise.core.rng import Rng, key
from poise.train.losses import CrossEntropy, SeveralLosses, SquaredError, summed_loss

BLOCKS = Blocks((3, None), presence=True)
WEIGHTS = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
LOSSES = SeveralLosses(("kind", "size"), BLOCKS, (CrossEntropy(WEIGHTS), SquaredError()))


def rows(count: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outputs, class codes, numbers, and (count, 2) which of them are known: neither, either, both."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    codes, numbers = torch.arange(count) % 3, torch.randn(count, generator=generator, dtype=torch.float64)
    known = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]]).repeat(-(-count // 4), 1)[:count].bool()
    return outputs, codes, numbers, known


def targets_of(codes: torch.Tensor, numbers: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    kinds = F.one_hot(codes, 3).double() * known[:, :1]
    return torch.cat([kinds, (numbers * known[:, 1])[:, None], known.double()], 1)


def test_each_task_is_torchs_loss_on_the_rows_that_know_it() -> None:
    outputs, codes, numbers, known = rows()
    found = LOSSES(outputs, Batch(None, targets_of(codes, numbers, known)))
    kind, size = known[:, 0], known[:, 1]
    each = F.cross_entropy(outputs[kind, :3], codes[kind], weight=WEIGHTS, reduction="none")
    torch.testing.assert_close(found["kind"], each.mean() / 2)
    torch.testing.assert_close(found["size"], F.mse_loss(outputs[size, 3], numbers[size]) / 2)


def test_what_parts_call_the_loss_is_the_sum_of_the_tasks() -> None:
    outputs, codes, numbers, known = rows()
    batch = Batch(None, targets_of(codes, numbers, known))
    each = LOSSES(outputs, batch)
    torch.testing.assert_close(summed_loss(LOSSES, outputs, batch), each["kind"] + each["size"])
    one = Batch(None, targets_of(codes, numbers, known)[:, :3])
    assert torch.equal(summed_loss(CrossEntropy(), outputs[:, :3], one), CrossEntropy()(outputs[:, :3], one))


def test_row_weights_count_within_each_task() -> None:
    outputs, codes, numbers, known = rows()
    counts = torch.tensor([1, 2, 0, 1] * 3)
    weighted = LOSSES(outputs, Batch(None, targets_of(codes, numbers, known), counts.double()))
    again = torch.repeat_interleave(torch.arange(12), counts)
    repeated = LOSSES(outputs[again], Batch(None, targets_of(codes, numbers, known)[again]))
    for name in ("kind", "size"):
        torch.testing.assert_close(weighted[name], repeated[name])


def test_what_stands_in_place_of_a_missing_label_has_no_gradient() -> None:
    outputs, codes, numbers, known = rows()
    outputs.requires_grad_()
    sum(LOSSES(outputs, Batch(None, targets_of(codes, numbers, known))).values()).backward()  # type: ignore[union-attr]
    assert outputs.grad is not None
    assert bool((outputs.grad[~known[:, 0], :3] == 0).all())
    assert bool((outputs.grad[~known[:, 1], 3] == 0).all())


def test_a_task_without_any_label_costs_0() -> None:
    outputs, codes, numbers, known = rows()
    found = LOSSES(outputs, Batch(None, targets_of(codes, numbers, torch.zeros_like(known))))
    assert [float(loss) for loss in found.values()] == [0, 0]


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_a_mixed_row_has_the_gradient_of_the_two_rows_losses_mixed_where_each_label_is_known(shift: int) -> None:
    outputs, codes, numbers, known = rows()
    outputs.requires_grad_()
    partner, taken = torch.arange(12).roll(shift), torch.linspace(0.05, 0.95, 12, dtype=torch.float64)
    mixed = blend(targets_of(codes, numbers, known), partner, taken)
    found = LOSSES(outputs, Batch(None, mixed))
    for place, name in enumerate(("kind", "size")):
        (ours,) = torch.autograd.grad(found[name], outputs, retain_graph=True)

        def loss(row: int, own: int, place: int = place) -> torch.Tensor:
            """Row `row`'s outputs against the label of row `own`, nothing if that is missing."""
            if not known[own, place]:
                return torch.zeros((), dtype=torch.float64)
            if place:
                return torch.square(outputs[row, 3] - numbers[own])
            return -WEIGHTS[codes[own]] * F.log_softmax(outputs[row, :3], -1)[codes[own]]

        total = sum((1 - taken[i]) * loss(i, i) + taken[i] * loss(i, int(partner[i])) for i in range(12))
        share = ((1 - taken) * known[:, place] + taken * known[partner, place]).sum()
        (oracle,) = torch.autograd.grad(total / share / 2, outputs, retain_graph=True)
        torch.testing.assert_close(ours, oracle)


def context(**facts: object) -> Context:
    return Context(0, Rng(key(0)), **facts)  # type: ignore[arg-type]


def smoothed(targets: torch.Tensor, **facts: object) -> torch.Tensor:
    batch, _ = LabelSmoothing(0.2).batch(Batch(torch.zeros(len(targets), 1), targets), {}, context(**facts))
    found: torch.Tensor = batch.targets
    return found


def test_smoothing_is_each_class_tasks_own_and_leaves_numbers_and_missing_labels() -> None:
    _, codes, numbers, known = rows()
    targets = targets_of(codes, numbers, known)
    found = smoothed(targets, blocks=BLOCKS)
    alone = smoothed(targets[:, :3], classes=3)
    torch.testing.assert_close(found[known[:, 0], :3], alone[known[:, 0]])
    assert bool((found[~known[:, 0], :3] == 0).all())
    assert torch.equal(found[:, 3:], targets[:, 3:])


def test_smoothing_commutes_with_mixing_also_where_labels_are_missing() -> None:
    _, codes, numbers, known = rows()
    targets, partner, taken = targets_of(codes, numbers, known), torch.arange(12).roll(1), torch.linspace(0, 1, 12)
    first = smoothed(blend(targets, partner, taken), blocks=BLOCKS)
    second = blend(smoothed(targets, blocks=BLOCKS), partner, taken)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("part", [Mixup(1.0), CutMix(1.0)], ids=["mixup", "cut_mix"])
def test_mixing_parts_mix_presence_as_they_mix_labels(part: Mixup | CutMix) -> None:
    _, codes, numbers, known = rows()
    ones = torch.ones_like(numbers)
    inputs = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    ctx = context(blocks=BLOCKS, columns=torch.arange(5))
    batch, _ = part.batch(Batch(inputs, targets_of(codes, ones, known)), {}, ctx)
    assert not torch.equal(batch.targets, targets_of(codes, ones, known))
    # A label of 1 holds its own known share, and a distribution's mass is the known share too.
    torch.testing.assert_close(batch.targets[:, 3], batch.targets[:, 5])
    torch.testing.assert_close(batch.targets[:, :3].sum(1), batch.targets[:, 4])
