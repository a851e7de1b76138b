"""The library of a search: which candidates make an ensemble, and by what they are compared."""

import numpy as np
import pytest
import torch

from poise.study.bracket import Candidate
from poise.study.cohort import Plan
from poise.study.ensemble import LEAST, Library
from poise.study.heads import Head
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.space import Space
from poise.study.table_network import Design

SPACE = Space(["dropout", "decay", "patience"])


def several(outputs: list[torch.Tensor]) -> list[Candidate]:
    plan = Plan(16, 16, 4)
    return [Candidate(SPACE.config(number, ()), float(number), out, 4, plan) for number, out in enumerate(outputs)]


def test_the_best_candidate_stays_in_an_ensemble_that_would_do_without_it(ready: Prepared) -> None:
    targets, error = torch.randn(2, 60, 1, generator=torch.Generator().manual_seed(0))
    plan = ready.problem.plan
    problem = Problem.of(np.zeros((60, 1)), [targets.numpy()], [Head("y", None)], plan=plan, design=Design())
    library = Library(problem, several([targets + 9, targets + error, targets - error]))
    shares = library.shares(0)
    assert shares[0] == pytest.approx(LEAST / (1 + LEAST))
    assert sum(shares.values()) == pytest.approx(1.0)
    assert library.temperatures(library.mean(shares)) == (1.0,)


def test_an_ensemble_is_chosen_by_the_rows_that_have_weight_however_few(ready: Prepared) -> None:
    targets = torch.randn(60, 1, generator=torch.Generator().manual_seed(0))
    weights = np.zeros(60)
    weights[[3, 30]] = 1
    wrong = targets.clone()
    wrong[[3, 30]] += 5  # right everywhere but on the rows that count
    plan = ready.problem.plan
    problem = Problem.of(
        np.zeros((60, 1)), [targets.numpy()], [Head("y", None)], plan=plan, design=Design(), weights=weights
    )
    shares = Library(problem, several([wrong, targets + 1])).shares(0)
    assert shares[1] > 0.9


def test_an_ensemble_is_chosen_by_what_its_members_know_and_not_by_how_sure_they_are(ready: Prepared) -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(400, 2, generator=generator)
    labels = torch.multinomial(torch.softmax(true, -1), 1, generator=generator).flatten()
    problem = Problem.of(np.zeros((400, 1)), [labels.numpy()], [Head("y", 2)], plan=ready.problem.plan, design=Design())
    blurred = true + torch.randn(400, 2, generator=generator)
    library = Library(problem, several([8 * true, 0.5 * blurred]))  # the first knows the truth, and is much too sure
    plain = problem.answer_score(library.answers, library.targets, library.weights, (1.0,))
    assert plain[0] > plain[1], "it loses more as it is"
    assert library.shares(0)[0] > 0.8
