"""What terms over rows share: weighted means, divergences, and heads for several tasks."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from poise.core.blocks import Blocks
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.objective import ConfidencePenalty, Distillation, JacobianPenalty, RDrop, SpectralDecoupling
from poise.objective.rows import classifies, divergence


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def context(**facts: Any) -> Context:
    return Context(0, Rng(key(0)), **facts)


def kl(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return F.kl_div(second.log_softmax(-1), first.log_softmax(-1), reduction="none", log_target=True).sum(-1)


HEADS = {"sex": draw(4, 2), "age": draw(4, 1, seed=1), "place": draw(4, 3, seed=2)}
OTHER = {task: own.flip(0) for task, own in HEADS.items()}
TARGETS = {"sex": torch.tensor([0, 1, 1, 0]), "age": draw(4, seed=3), "place": torch.eye(4, 3, dtype=torch.float64)}
BY_TASK = {"batch": Batch(draw(4, 2), TARGETS), "classes": {"place": 3}}  # type: ignore[arg-type]  # targets by task


def expected() -> torch.Tensor:
    """Each row's mean over the three tasks: two of classes, one of numbers."""
    sex, place = (kl(HEADS[task], OTHER[task]) for task in ("sex", "place"))
    return (sex + (HEADS["age"] - OTHER["age"]).square()[:, 0] + place) / 3


def test_of_a_dict_of_heads_each_is_measured_as_its_task_is() -> None:
    found = divergence(HEADS, OTHER, context(**BY_TASK))
    torch.testing.assert_close(found, expected(), rtol=1e-12, atol=1e-15)


def test_of_blocks_side_by_side_it_is_the_same() -> None:
    ctx = context(blocks=Blocks((2, None, 3)))
    found = divergence(torch.cat([*HEADS.values()], 1), torch.cat([*OTHER.values()], 1), ctx)
    torch.testing.assert_close(found, expected(), rtol=1e-12, atol=1e-15)


def test_positions_of_a_sequence_count_alike() -> None:
    first, second = draw(4, 5, 3), draw(4, 5, 3, seed=1)
    found = divergence(first, second, context(classes=3))
    torch.testing.assert_close(found, kl(first, second).mean(1), rtol=1e-12, atol=1e-15)


def test_parts_take_a_dict_of_heads() -> None:
    ctx = context(outputs=HEADS, forward=lambda inputs, draw=0: OTHER, teacher=lambda inputs: OTHER, **BY_TASK)
    both = (divergence(HEADS, OTHER, ctx) + divergence(OTHER, HEADS, ctx)).mean() / 2
    terms = {"data/sex": torch.tensor(0.0), "data/age": torch.tensor(0.0)}
    cases = {
        RDrop(1.0): both,
        Distillation(1.0, temperature=1.0): divergence(OTHER, HEADS, ctx).mean(),
        SpectralDecoupling(2.0): torch.stack([own.square().mean() for own in HEADS.values()]).mean(),
        ConfidencePenalty(1.0): -torch.stack(
            [torch.distributions.Categorical(logits=HEADS[task]).entropy().mean() for task in ("sex", "place")]
        ).mean(),
    }
    for part, value in cases.items():
        found, _ = part.objective(terms, {}, ctx)
        torch.testing.assert_close(found[part.name], value, rtol=1e-12, atol=1e-15)


def test_the_jacobian_is_that_of_all_heads_together() -> None:
    W = {"a": draw(2, 1), "b": draw(2, 3, seed=1)}
    ctx = context(batch=Batch(draw(4, 2), draw(4)), forward=lambda x: {task: x @ w for task, w in W.items()})
    beside = context(batch=Batch(draw(4, 2), draw(4)), forward=lambda x: x @ torch.cat([*W.values()], 1))
    one, other = (JacobianPenalty(1.0).objective({}, {}, c)[0]["jacobian_penalty"] for c in (ctx, beside))
    torch.testing.assert_close(one, other, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"classes": 2}, True),
        ({"batch": Batch(None, torch.tensor([0, 1]))}, True),
        ({"batch": Batch(None, torch.tensor([0.0, 1.0]))}, False),
        ({}, False),
    ],
)
def test_classes_are_known_from_the_run_or_from_their_indices(facts: dict[str, Any], found: bool) -> None:
    assert classifies(context(**facts)) == found


def test_outputs_that_are_not_floats_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"a tensor of floats or one for each task; got a Tensor"):
        SpectralDecoupling().objective({}, {}, context(outputs=torch.tensor([[1, 2]])))


CLASSES = {"batch": Batch(None, torch.tensor([0, 1, 1, 0]))}


def test_one_logit_is_no_distribution_over_classes() -> None:
    with pytest.raises(ArgumentError, match=r"logits \(B, \.\.\., K\) of at least two; got \(4, 1\)\. Give"):
        divergence(draw(4, 1), draw(4, 1, seed=1), context(**CLASSES))


@pytest.mark.parametrize("part", [ConfidencePenalty(), RDrop()])
def test_classes_in_the_second_dimension_are_refused(part: Any) -> None:
    image = Batch(None, torch.zeros(4, 6, 7, dtype=torch.int64))
    ctx = context(batch=image, outputs=draw(4, 3, 6, 7), forward=lambda inputs, draw: ctx.outputs)
    with pytest.raises(ArgumentError, match=r"classes last; got \(4, 3, 6, 7\) for targets \(4, 6, 7\)"):
        part.objective({}, {}, ctx)


def test_integers_of_the_shape_of_the_outputs_are_numbers_unless_classes_are_known() -> None:
    first, second, batch = draw(4, 3), draw(4, 3, seed=1), Batch(None, torch.eye(4, 3, dtype=torch.int64))
    assert torch.equal(divergence(first, second, context(batch=batch)), (first - second).square().mean(1))
    torch.testing.assert_close(divergence(first, second, context(batch=batch, classes=3)), kl(first, second))


def test_outputs_of_two_shapes_are_not_compared() -> None:
    with pytest.raises(ArgumentError, match=r"one shape; got \(4, 1\) and \(4,\)\. Let the teacher"):
        divergence(draw(4, 1), draw(4), context())


def test_heads_are_compared_by_task_whatever_their_order() -> None:
    turned = dict(reversed(OTHER.items()))
    torch.testing.assert_close(divergence(HEADS, turned, context(**BY_TASK)), expected(), rtol=1e-12, atol=1e-15)
