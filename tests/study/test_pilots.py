"""Pilots: whether retrained networks train longer than those of the search, by the rows that they left out."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.study.bags import PARTS, bags_of, left_out
from poise.study.bracket import Candidate
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Plan
from poise.study.folds import Folds
from poise.study.heads import Head
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.retraining import AT_LEAST, Job, Retraining, _longer
from poise.study.space import Config, Space
from poise.train.population import Rows
from poise.train.stack import Stack

ROWS = 2000
SPACE = Space(["dropout", "decay", "patience"])
SHARES = {0: 0.5, 1: 0.25, 2: 0.25}
TRUTH = torch.randn(ROWS, 1, generator=torch.Generator().manual_seed(0))


class Looked(nn.Module):
    """Looks its outputs up: the input is a row's number."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = nn.Parameter(answers)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.embedding(inputs[:, 0].long(), self.answers)


def candidates() -> list[Candidate]:
    """Three whose best steps are 5, 12 and 20: a network of their shares takes ten and a half."""
    config = SPACE.config(0, ("dropout", "decay"), lr=3e-3)
    return [Candidate(config, 0.5, torch.empty(0), best, Plan(24, 16, 4)) for best in (5, 12, 20)]


def numbers(ready: Prepared) -> tuple[Problem, Folds]:
    """A problem of numbers, whose inputs are the rows' numbers, with noise of variance 1/4 in its labels."""
    noise = 0.5 * torch.randn(ROWS, 1, generator=torch.Generator().manual_seed(1))
    data = Rows(torch.arange(ROWS, dtype=torch.float32)[:, None], TRUTH + noise)
    problem = replace(ready.problem, rows=data, heads=(Head("y", None),))
    bags = bags_of(data.targets[:, 0].numpy(), task="regression", seed=0)
    assert bags is not None
    return problem, bags


def networks(noises: list[float], seed: int) -> Stack:
    """Networks that know the truth but for noise of these standard deviations, fresh in each and on every row."""
    generator = torch.Generator().manual_seed(seed)
    answers = [TRUTH + noise * torch.randn(ROWS, 1, generator=generator) for noise in noises]
    return Stack(Looked(TRUTH), {"answers": torch.stack(answers)}, {})


@pytest.mark.parametrize("each", [1, 2, 5])
def test_the_loss_of_a_mean_of_many_is_told_by_few(ready: Prepared, each: int) -> None:
    problem, bags = numbers(ready)
    stack = networks([1.0] * PARTS * each, 2)
    shares = torch.rand(len(stack), generator=torch.Generator().manual_seed(3)) + 0.5
    found = left_out(problem, stack, shares, [place % PARTS for place in range(len(stack))], bags)
    assert sorted(found.rows.tolist()) == list(range(ROWS))
    assert found.single.shape == (each, ROWS, 1)
    everything = torch.arange(ROWS)
    errors = [
        float(torch.square(one - problem.rows.targets[found.rows]).mean()) for one in (found.mean, TRUTH[found.rows])
    ]
    assert errors[1] == pytest.approx(0.25, rel=0.1)
    if each == 1:  # a single network says nothing of more
        assert (
            found.losses(problem, everything) == pytest.approx(errors[0], rel=1e-5) != pytest.approx(errors[1], rel=1)
        )
    else:
        assert errors[0] > 1.5 * errors[1]
        assert found.losses(problem, everything) == pytest.approx(errors[1], rel=0.25)


class Rounds:
    """In the place of training: networks whose noise depends on how many times the steps they train."""

    def __init__(self, noise: dict[int, float]) -> None:
        self.noise = noise
        self.asked: list[list[Job]] = []

    def __call__(self, jobs: list[Job], bags: Folds | None) -> Stack:
        self.asked.append(list(jobs))
        return networks([self.noise[job.times] for job in jobs], 10 + len(self.asked))


def piloted(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch, noise: dict[int, float], seconds: float = 1e6
) -> tuple[Rounds, str, Tensor]:
    """Retrain with so many seconds left; a network's mean number of steps takes ten and a half."""
    problem, bags = numbers(ready)
    clock = Clock(parse_budget("60s"))
    own = Retraining(problem, SPACE, candidates(), clock, 1.0, 0, 1, None, bags, tempered=False)
    rounds = Rounds(noise)
    monkeypatch.setattr(Clock, "left", lambda self, share: seconds)
    monkeypatch.setattr(Retraining, "_round", lambda self, jobs, bags: rounds(jobs, bags))
    found = own.run(SHARES)
    assert found.temperatures is None
    return rounds, found.longer, found.stack.weights["answers"]


@pytest.mark.parametrize(
    ("noise", "times"), [({1: 0.9, 2: 0.6, 4: 0.9}, 2), ({1: 0.9, 2: 0.6, 4: 0.3}, 4), ({1: 0.5, 2: 0.9}, 1)]
)
def test_all_train_for_as_long_as_pilots_gain_by_it(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch, noise: dict[int, float], times: int
) -> None:
    """The noise is each network's own, so that a mean of many would lose the same: few must lose clearly less."""
    monkeypatch.setattr("poise.study.bags._ALONE", 0.0)  # without the line to many
    rounds, said, answers = piloted(ready, monkeypatch, noise)
    tried = [1, 2] if times == 1 else [1, 2, 4]
    assert [asked[-1].times for asked in rounds.asked] == [*tried, times]
    pilots = rounds.asked[0][1:]
    assert len(pilots) == 5 * PARTS
    assert sorted(job.bag for job in pilots) == sorted([*range(PARTS)] * 5)
    for place, asked in enumerate(rounds.asked[1:-1]):
        assert asked == [replace(job, times=tried[place + 1]) for job in pilots]
    # The report's network is as the search found it, and leaves no row out; nor do those after the pilots, of numbers.
    assert rounds.asked[0][0] == Job(0, 0, PARTS)
    assert {job.bag for job in rounds.asked[-1]} == {PARTS}
    spread = (answers - TRUTH).std(dim=(1, 2))
    assert float(spread[0]) == pytest.approx(noise[1], rel=0.1)
    assert spread[1:].tolist() == pytest.approx([noise[times]] * (len(spread) - 1), rel=0.1)
    assert (f"{times} times the steps" in said) is (times > 1)


def test_a_mean_of_many_bears_what_few_do_not(ready: Prepared) -> None:
    """More variance and less bias: a mean of two loses more by it, and one of many less."""
    problem, bags = numbers(ready)
    bag_of = [place % PARTS for place in range(2 * PARTS)]
    found = []
    for bias, noise in ((0.5, 0.3), (0.3, 0.7)):
        stack = networks([noise] * len(bag_of), 4)
        stack.weights["answers"] += bias
        found.append(left_out(problem, stack, torch.ones(len(bag_of)), bag_of, bags))
    everything = torch.arange(ROWS)
    few = [float(torch.square(one.mean - problem.rows.targets[one.rows]).mean()) for one in found]
    many = [one.losses(problem, everything) for one in found]
    assert few[0] < few[1]
    assert many[0] > many[1]
    assert many == pytest.approx([0.25 + 0.5**2, 0.25 + 0.3**2], rel=0.1)


@pytest.mark.parametrize(("room", "pilots"), [(400, 25), (100, 10), (39, 0)])
def test_pilots_are_as_many_as_there_is_time_for(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch, room: int, pilots: int
) -> None:
    rounds, _, _ = piloted(ready, monkeypatch, {1: 0.5, 2: 0.9, 4: 0.9}, 10.5 * room)
    assert len(rounds.asked[0]) == (1 + pilots if pilots else 39)
    assert 1 + (1 + 2) * 10 + 2 * AT_LEAST > 39


def test_of_many_rows_five_pilots_leave_the_same_out(ready: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise.study.retraining.MANY", ROWS)
    rounds, said, _ = piloted(ready, monkeypatch, {1: 0.5, 2: 0.5, 4: 0.9}, 2 * 10.5 * 30)
    assert [job.bag for job in rounds.asked[0]] == [PARTS, 0, 0, 0, 0, 0]
    assert {job.place for job in rounds.asked[0][1:]} == {0, 1, 2}
    # They train twice as long as in the search, and tell of four times.
    assert [[job.times for job in asked[-2:]] for asked in rounds.asked] == [[2, 2], [4, 4], [2, 2]]
    assert rounds.asked[0][0].times == 1
    assert "for 2 times the steps" in said


@pytest.mark.parametrize(("room", "networks", "times"), [(24, 12, 2), (12, 6, 2), (11, 11, 1)])
def test_of_many_rows_all_train_twice_as_long_where_there_is_time_for_six(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch, room: int, networks: int, times: int
) -> None:
    monkeypatch.setattr("poise.study.retraining.MANY", ROWS)
    rounds, said, answers = piloted(ready, monkeypatch, {1: 0.5, 2: 0.3}, 10.5 * room + 0.1)
    asked = rounds.asked[0]
    assert [job.times for job in asked] == [1] + [times] * (networks - 1)
    assert float((answers[0] - TRUTH).std()) == pytest.approx(0.5, rel=0.1)
    assert ("for 2 times the steps" in said) is (times > 1)


def test_training_longer_draws_everything_out() -> None:
    config = Config(7, {}, 1e-3, ())
    one = replace(candidates()[1], schedule=((0, config), (6, config)))
    assert _longer(one, 1) is one
    longer = _longer(one, 4)
    assert (longer.plan.steps, longer.best_step) == (4 * one.plan.steps, 4 * one.best_step)
    assert [step for step, _ in longer.schedule] == [0, 24]
