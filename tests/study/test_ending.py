"""When a search may end: a gain that is there keeps it going, noise does not."""

import numpy as np
import torch

from poise.study.bracket import Candidate
from poise.study.cohort import Plan
from poise.study.ending import ROUNDS, Ending
from poise.study.ensemble import Library
from poise.study.heads import Head
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.space import Space

ROWS = 300
TARGETS, ERROR = torch.randn(2, ROWS, 1, generator=torch.Generator().manual_seed(0))


def problem(ready: Prepared) -> Problem:
    return Problem.of(
        np.zeros((ROWS, 1)), [TARGETS.numpy()], [Head("y", None)], plan=ready.problem.plan, design=ready.problem.design
    )


def candidate(number: int, outputs: torch.Tensor) -> Candidate:
    score = float(torch.square(outputs - TARGETS).mean())
    return Candidate(Space(["patience"]).config(number, ()), score, outputs, 4, Plan(16, 16, 4))


def rounds(ready: Prepared, sizes: list[float]) -> Ending:
    """Each round brings one candidate, whose error is the same but of another size."""
    ending, found = Ending(problem(ready), 0), []
    for number, size in enumerate(sizes):
        found = sorted([*found, candidate(number, TARGETS + size * ERROR)], key=lambda one: one.score)
        ending.close(found)
        if ending.reached:
            break
    return ending


def test_a_gain_in_each_round_keeps_the_search_going(ready: Prepared) -> None:
    assert not rounds(ready, [1.0 - 0.05 * turn for turn in range(12)]).reached


def test_without_any_gain_the_search_ends_after_one_round_more_than_are_compared(ready: Prepared) -> None:
    ending = rounds(ready, [1.0] * 12)
    assert len(ending.means) == ROUNDS + 1
    assert ending.said.startswith(f"The search ended early, after {ROUNDS + 1} rounds: over the last {ROUNDS} ")


def test_a_gain_that_ends_ends_the_search_four_rounds_later(ready: Prepared) -> None:
    sizes = [1.0 - 0.1 * turn for turn in range(5)] + [1.0] * 10
    assert len(rounds(ready, sizes).means) == 5 + ROUNDS


def test_a_gain_on_some_rows_that_others_lose_again_is_noise(ready: Prepared) -> None:
    draw = torch.Generator().manual_seed(1)
    ending, found = Ending(problem(ready), 0), []
    for number in range(ROUNDS + 1):
        # Each is right about its own lucky rows: a single ensemble's loss falls a little by chance.
        found = [candidate(number, TARGETS + torch.randn(ROWS, 1, generator=draw))]
        ending.close(found)
    gain = [float(torch.square(mean - TARGETS).mean()) for mean in ending.means]
    assert ending.reached == (gain[0] - gain[-1] < 0.1)


def test_too_few_rows_for_ten_parts_never_end_a_search(ready: Prepared) -> None:
    few = Problem.of(
        np.zeros((15, 1)),
        [TARGETS[:15].numpy()],
        [Head("y", None)],
        plan=ready.problem.plan,
        design=ready.problem.design,
    )
    ending = Ending(few, 0)
    for number in range(10):
        ending.close([Candidate(Space(["patience"]).config(number, ()), 1.0, TARGETS[:15] + 1, 4, Plan(16, 16, 4))])
    assert not ending.reached


def test_an_ensemble_that_was_chosen_on_validation_rows_is_no_worse_than_the_best_single_on_others(
    ready: Prepared,
) -> None:
    """Of thirty candidates, some good and many lucky, over twenty draws: the guard holds on rows that chose nothing."""
    draw = torch.Generator().manual_seed(3)
    single, guarded = 0.0, 0.0
    for _ in range(20):
        skill = torch.rand(30, 1, 1, generator=draw) + 0.5
        outputs = TARGETS + skill * torch.randn(30, ROWS, 1, generator=draw)
        half = torch.where(torch.arange(ROWS)[:, None] < ROWS // 2, outputs, torch.nan)
        scores = torch.square(outputs - TARGETS)[:, : ROWS // 2].mean((1, 2))
        order = scores.argsort().tolist()
        found = [
            Candidate(Space(["patience"]).config(place, ()), float(scores[place]), half[place], 4, Plan(16, 16, 4))
            for place in order
        ]
        shares = Library(problem(ready), found).shares(0)
        mean = sum(share * outputs[order[place], ROWS // 2 :] for place, share in shares.items())
        assert isinstance(mean, torch.Tensor)
        guarded += float(torch.square(mean - TARGETS[ROWS // 2 :]).mean())
        single += float(torch.square(outputs[order[0], ROWS // 2 :] - TARGETS[ROWS // 2 :]).mean())
    assert guarded < single


def test_rows_that_no_fold_held_out_choose_nothing(ready: Prepared) -> None:
    outputs = TARGETS + ERROR
    seen = outputs.clone()
    seen[::2] = torch.nan
    library = Library(problem(ready), [candidate(0, seen)])
    assert len(library) == ROWS // 2
    assert library.answers.shape == (1, ROWS // 2, 1)
