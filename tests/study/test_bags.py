"""Bags: who leaves which rows out, and the temperature that these rows tell."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.predict import fit_temperature
from poise.study.bags import PARTS, bags_of, temperatures_of
from poise.study.folds import Folds
from poise.study.heads import Head
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.train.population import Rows
from poise.train.stack import Stack

ROWS, CLASSES = 3000, 3


def test_each_row_is_left_out_once_and_every_bag_is_as_long_as_all_rows(ready: Prepared) -> None:
    bags = bags_of(ready.strata, task="classification", seed=0)
    assert bags is not None
    count = len(ready.strata)
    assert bags.train.shape == (PARTS + 1, count) == bags.validation.shape
    assert bags.validation[:PARTS].sum(0).tolist() == [1.0] * count
    for train, held in zip(bags.train[:PARTS], bags.validation[:PARTS] > 0, strict=True):
        own = torch.nonzero(~held).flatten().tolist()
        assert set(train.tolist()) == set(own), "its own rows, all of them, some twice"
    assert bags.train[-1].tolist() == list(range(count))
    assert not bool(bags.validation[-1].any())
    shares = [ready.strata[held.numpy() > 0].mean() for held in bags.validation[:PARTS]]
    assert max(shares) - min(shares) < 0.1, "each part has its share of the classes"
    again, other = (bags_of(ready.strata, task="classification", seed=seed) for seed in (0, 1))
    assert again is not None
    assert other is not None
    assert again.train.equal(bags.train)
    assert not other.train.equal(bags.train)


def test_a_group_is_left_out_as_a_whole_and_few_groups_make_few_parts(ready: Prepared) -> None:
    groups = np.arange(len(ready.strata)) % 3
    bags = bags_of(ready.strata, task="classification", seed=0, groups=groups)
    assert bags is not None
    assert len(bags) == 4
    for held in bags.validation[:3].numpy() > 0:
        assert not set(groups[held]) & set(groups[~held])


def test_rows_too_few_for_parts_have_no_bags() -> None:
    assert bags_of(np.arange(9) % 2, task="classification", seed=0) is None


class Looked(nn.Module):
    """Looks its outputs up: the input is a row's number."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = nn.Parameter(answers)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.embedding(inputs[:, 0].long(), self.answers)


def made(ready: Prepared, networks: int, seed: int = 0) -> tuple[Problem, Stack, Folds, list[int]]:
    """Networks that know the truth, each with noise of its own, and that are surer than they should be."""
    generator = torch.Generator().manual_seed(seed)
    true = 2 * torch.randn(ROWS, CLASSES, generator=generator)
    labels = torch.multinomial(torch.softmax(true, -1), 1, generator=generator).flatten()
    noise = 0.8 * torch.randn(networks, ROWS, CLASSES, generator=generator)
    stack = Stack(Looked(true), {"answers": 1.5 * (true + noise)}, {})
    rows = Rows(torch.arange(ROWS, dtype=torch.float32)[:, None], F.one_hot(labels, CLASSES).float())
    problem = replace(ready.problem, rows=rows, heads=(Head("y", CLASSES),))
    bags = bags_of(labels.numpy(), task="classification", seed=0)
    assert bags is not None
    return problem, stack, bags, [place % PARTS for place in range(networks)]


def best(problem: Problem, stack: Stack, shares: Tensor) -> float:
    """The temperature of the mean of all networks; their noise is fresh on every row, so that none was trained on."""
    mean = torch.tensordot(shares, torch.softmax(stack.weights["answers"], -1), 1)
    return fit_temperature(mean.log(), problem.rows.targets)


def test_the_temperature_of_all_is_told_by_those_that_left_a_row_out(ready: Prepared) -> None:
    for networks in (10, 25, 60):
        problem, stack, bags, own = made(ready, networks)
        shares = torch.rand(networks, generator=torch.Generator().manual_seed(1)) + 0.5
        shares = shares / shares.sum()
        (found,) = temperatures_of(problem, stack, shares, own, bags) or ()
        wanted = best(problem, stack, shares)
        few = own.count(0)  # networks of one part
        theirs = best(problem, stack.select(torch.arange(few)), torch.ones(few) / few)
        assert abs(found / wanted - 1) < (0.08 if networks == 10 else 0.04), networks
        assert theirs / wanted > (1.2 if networks == 10 else 1.05 if networks == 25 else 1), "a mean of few is surer"


def test_shares_need_not_sum_to_1_and_a_network_of_all_rows_tells_nothing(ready: Prepared) -> None:
    problem, stack, bags, own = made(ready, 20)
    shares = torch.full((20,), 1 / 20)
    expected = temperatures_of(problem, stack, shares, own, bags)
    assert temperatures_of(problem, stack, 3 * shares, own, bags) == pytest.approx(expected)
    stack.weights["answers"][4] = 100 * torch.eye(CLASSES)[problem.rows.targets.argmax(1)]  # has learned all by heart
    with_it = temperatures_of(problem, stack, shares, [*own[:4], PARTS, *own[5:]], bags)
    assert with_it is not None
    assert expected is not None
    assert abs(with_it[0] / expected[0] - 1) < 0.03


def test_where_no_row_was_left_out_there_is_none(ready: Prepared) -> None:
    problem, stack, bags, _ = made(ready, 3)
    assert temperatures_of(problem, stack, torch.ones(3) / 3, [PARTS] * 3, bags) is None


def test_one_network_for_each_row_is_its_own_mean(ready: Prepared) -> None:
    problem, stack, bags, own = made(ready, PARTS)
    (found,) = temperatures_of(problem, stack, torch.ones(PARTS) / PARTS, own, bags) or ()
    assert abs(found / best(problem, stack.select(torch.tensor([0])), torch.ones(1)) - 1) < 0.06


def test_rows_of_no_weight_tell_nothing(ready: Prepared) -> None:
    problem, stack, bags, own = made(ready, 20)
    weights = (torch.arange(ROWS) % 3 > 0).float()
    shares = torch.ones(20) / 20
    problem = replace(problem, rows=replace(problem.rows, weights=weights))
    expected = temperatures_of(problem, stack, shares, own, bags)
    targets = torch.where(weights[:, None] > 0, problem.rows.targets, problem.rows.targets.flip(1))
    other = replace(problem, rows=replace(problem.rows, targets=targets))
    assert temperatures_of(other, stack, shares, own, bags) == expected
