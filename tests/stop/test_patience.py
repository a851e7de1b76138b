"""Early stopping against a ten-line reference on scripted scores."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.stop import Patience
from poise.testing import check_regularizer


def reference(scores: list[float], evaluations: float, minimum_change: float) -> tuple[int | None, int, float]:
    """When a run stops (None: never), the step of its best score, that score: algorithm 7.1 with plain numbers."""
    best, best_step, anchor, wait = math.inf, -1, math.inf, 0
    for step, score in enumerate(scores):
        if score < best:
            best, best_step = score, step
        if score < anchor - minimum_change:
            anchor, wait = score, 0
            continue
        wait += 1
        if wait >= evaluations:
            return step, best_step, best
    return None, best_step, best


def run(part: Patience, scores: list[float]) -> tuple[int | None, int, float]:
    memory, stopped = part.remember({}), torch.tensor(False)
    for step, score in enumerate(scores):
        ctx = Context(step, Rng(key(0)), score=torch.tensor(score, dtype=torch.float64))
        stopped, memory = part.stop(stopped, memory, ctx)
        if bool(stopped):
            return step, int(memory["best_step"]), float(memory["best"])
    return None, int(memory["best_step"]), float(memory["best"])


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Patience(2, minimum_change=0.1)).count >= 20


@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 0.75, 1.0, 2.0, math.nan, math.inf, -math.inf]), max_size=12),
    evaluations=st.sampled_from([0, 1, 2, 3, math.inf]),
    minimum_change=st.sampled_from([0.0, 0.25, 0.6]),
)
@example(scores=[1.0, 1.0], evaluations=1, minimum_change=0.0)
@example(scores=[math.nan, math.nan], evaluations=2, minimum_change=0.0)
@example(scores=[1.0, 0.75, 0.5], evaluations=2, minimum_change=0.25)
def test_it_is_the_reference(scores: list[float], evaluations: float, minimum_change: float) -> None:
    assert run(Patience(evaluations, minimum_change), scores) == reference(scores, evaluations, minimum_change)


def test_the_best_step_follows_the_true_minimum_below_the_minimum_change() -> None:
    assert run(Patience(2, minimum_change=0.5), [1.0, 0.9, 0.8]) == (2, 2, 0.8)


def test_small_steps_add_up_to_an_improvement() -> None:
    # Against the last improvement (1.0), not against the best: 0.4 is 0.6 lower, so waiting starts anew.
    assert run(Patience(2, minimum_change=0.5), [1.0, 0.7, 0.4, 0.3]) == (None, 3, 0.3)


def test_ties_are_no_improvement() -> None:
    assert run(Patience(2), [1.0, 1.0, 1.0]) == (2, 0, 1.0)


def test_nan_from_the_start_leaves_no_best_step() -> None:
    assert run(Patience(3), [math.nan] * 5) == (2, -1, math.inf)


@pytest.mark.parametrize("evaluations", [0, 1])
def test_patience_0_and_1_stop_at_the_first_evaluation_without_improvement(evaluations: int) -> None:
    assert run(Patience(evaluations), [3.0, 2.0, 2.5, 1.0]) == (2, 1, 2.0)


def test_neutral_never_stops() -> None:
    assert run(Patience(2).neutral(), [1.0] * 50)[0] is None


def test_copies_taken_at_the_best_step_are_the_best_weights() -> None:
    part, kept = Patience(2), None
    memory, stopped = part.remember({}), torch.tensor(False)
    for step, score in enumerate([3.0, 1.0, 2.0, 0.5, 0.7, 0.6, 9.0]):
        weights = torch.tensor([float(step)])
        stopped, memory = part.stop(stopped, memory, Context(step, Rng(key(0)), score=torch.tensor(score)))
        if int(memory["best_step"]) == step:
            kept = weights.clone()
        if bool(stopped):
            break
    assert torch.equal(kept, torch.tensor([3.0]))
    assert step == 5


def test_a_stop_of_another_part_stays() -> None:
    ctx = Context(0, Rng(key(0)), score=torch.tensor(0.0))
    assert bool(Patience(5).stop(torch.tensor(True), Patience(5).remember({}), ctx)[0])


def test_members_have_their_own_patience_and_scores() -> None:
    scores = torch.tensor([[3.0, 3.0, 3.0, 3.0], [3.0, 2.0, 1.0, 0.0], [3.0, 1.0, 2.0, 2.0]])
    patience = torch.tensor([2.0, 1.0, math.inf])

    def member(evaluations: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        part = Patience().at({"evaluations": evaluations})
        memory, stopped = part.remember({}), torch.tensor(False)
        for step in range(4):
            stopped, memory = part.stop(stopped, memory, Context(step, Rng(key(0)), score=scores[step]))
        return stopped, memory["best_step"]

    stopped, best = torch.vmap(member)(patience, scores)
    assert stopped.tolist() == [True, False, False]
    assert best.tolist() == [0, 3, 1]
