"""A study's own step against a loop: one bracket of a search on a table, as `poise.study` builds it.

The population is a `poise.study.cohort.Cohort`: the study's network (embedded columns, three hidden layers of 128), its
recipe of thirteen parts, and the configurations of a first bracket: those every search begins with, and random ones. No
configuration has all parts on, and each part is on for some. The loop trains the same networks one after the other in
plain torch, each with the parts of its own configuration alone, as a good user of torch writes them. In turns, by
processor time, on one core; the tables are made up, in the shapes of three real ones. A part of
`benchmarks/population.py`.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.population import Cost, Steps, count_for, median_us, ratio, timed
from poise.models.tabular import ColumnPlan, TabularNet
from poise.study.choices import TABLE
from poise.study.cohort import Cohort, plan_for
from poise.study.folds import Folds, make_folds
from poise.study.heads import Head
from poise.study.problem import Problem
from poise.study.space import Config, Space
from poise.study.table_network import Design

__all__ = ["TABLES", "study", "study_cohort"]

CONFIGS = 12


@dataclass(frozen=True)
class Shape:
    """A table: its rows, its numeric columns, the levels of each of its categories."""

    rows: int
    numeric: int
    levels: tuple[int, ...]


TABLES = {
    "credit": Shape(800, 7, (4, 5, 10, 5, 5, 4, 3, 4, 3, 3, 4, 2, 2)),
    "phoneme": Shape(4300, 5, ()),
    "adult": Shape(39000, 6, (9, 16, 7, 15, 6, 5, 2, 42)),
}
"""Made-up tables in the shapes of German credit, phoneme and adult as a study encodes them."""


def problem_of(shape: Shape) -> Problem:
    draws = np.random.default_rng(0)
    blocks = [draws.standard_normal((shape.rows, shape.numeric))]
    blocks += [np.eye(levels)[draws.integers(levels, size=shape.rows)] for levels in shape.levels]
    inputs = np.concatenate(blocks, axis=1).astype(np.float32)
    labels = (inputs @ draws.standard_normal(inputs.shape[1]) + draws.standard_normal(shape.rows) > 0).astype(int)
    kinds = ["numeric"] * shape.numeric + ["category"] * len(shape.levels)
    widths = [1] * shape.numeric + list(shape.levels)
    groups = tuple(group for group, width in enumerate(widths) for _ in range(width))
    plan = ColumnPlan(groups, tuple(kinds))
    return Problem.of(inputs, [labels], [Head.of("class", 2)], plan=plan, design=Design())


def bracket_of(space: Space) -> list[Config]:
    """Return the configurations every search begins with, and as many random ones as fill a bracket."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = space.portfolio(0)
    return found + [space.suggest(sampler.ask(), number) for number in range(len(found), CONFIGS)]


def study_cohort(table: str) -> tuple[Cohort, list[Config], Folds]:
    """Return the bracket as a population, its configurations, and the folds."""
    problem = problem_of(TABLES[table])
    labels = problem.rows.targets.argmax(1).numpy()
    folds = make_folds(labels, task="classification", count=3 if len(labels) < 1_500 else 1, seed=0)
    space = Space([name for name in TABLE.parts if name != "front_scale"])  # the loop has none
    configs = bracket_of(space)
    plan = plan_for(int(folds.train.shape[1]))
    return Cohort(problem, space.recipe, configs, folds, plan, seed=0), configs, folds


class Loop:
    """One configuration in plain torch; parts that are off cost nothing."""

    def __init__(self, problem: Problem, config: Config, folds: Folds, batch: int) -> None:
        self.on, self.dials, self.batch = set(config.on), config.dials, batch
        torch.manual_seed(config.number)
        network = problem.builder()()
        assert isinstance(network, TabularNet)
        for block in network.blocks:
            if "batch_norm" in self.on:
                block.insert(1, nn.BatchNorm1d(block[0].out_features))
            if "hidden_noise" in self.on:
                block.append(Noise(self.dials["hidden_noise.scale"]))
            if "dropout" in self.on:
                block.append(nn.Dropout(self.dials["dropout.p"]))
        self.network, self.parameters = network, list(network.parameters())
        decayed = [p for p in self.parameters if p.dim() > 1]
        rest = [p for p in self.parameters if p.dim() <= 1]
        rate = self.dials["decay.rate"] if "decay" in self.on else 0.0
        groups = [{"params": decayed, "weight_decay": rate}, {"params": rest, "weight_decay": 0.0}]
        self.decayed = decayed
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95), fused=True)
        self.shadow = copy.deepcopy(self.parameters) if "ema" in self.on else []
        inputs, labels = problem.rows.inputs, problem.rows.targets.argmax(1)
        self.inputs, self.labels, self.rows = inputs, labels, folds.train[0]
        self.stop = torch.nonzero(folds.stop[0]).flatten()
        assert isinstance(problem.plan, ColumnPlan)
        self.groups = torch.tensor(problem.plan.groups)
        self.count = len(problem.plan.kinds)
        sizes = torch.bincount(self.groups)
        self.alone = (sizes[self.groups] == 1).float()
        self.draws = np.random.default_rng(config.number)
        self.order, self.place = torch.randperm(len(self.rows)), 0
        self.best = (float("inf"), copy.deepcopy(network.state_dict()))

    def edited(self, x: Tensor) -> Tensor:
        rows = len(x)
        if "input_noise" in self.on:
            x = x + torch.randn_like(x) * self.alone * self.dials["input_noise.scale"]
        if "swap_noise" in self.on:
            swapped = torch.rand(rows, self.count) < self.dials["swap_noise.p"]
            others = torch.randint(rows, (rows, self.count))
            x = torch.where(swapped[:, self.groups], x.gather(0, others[:, self.groups]), x)
        return x

    def step(self) -> None:
        if self.place + self.batch > len(self.rows):
            self.order, self.place = torch.randperm(len(self.rows)), 0
        rows = self.rows[self.order[self.place : self.place + self.batch]]
        self.place += self.batch
        x, y = self.edited(self.inputs[rows]), self.labels[rows]
        pairs = [(y, torch.ones(()))]  # labels and the share of each row's loss that is theirs
        if "cut_mix" in self.on:
            partner, planned = torch.randperm(len(x)), float(self.draws.beta(1.0, 1.0))
            mixed = torch.rand(len(x), 1) < self.dials["cut_mix.share"]
            taken = (torch.rand(len(x), self.count) < planned) & mixed
            x = torch.where(taken[:, self.groups], x[partner], x)
            share = taken.float().mean(1)
            pairs = [(y, 1 - share), (y[partner], share)]
        if "mixup" in self.on:
            alpha, partner = self.dials["mixup.alpha"], torch.randperm(len(x))
            kept = float(self.draws.beta(alpha, alpha))
            x = torch.lerp(x, x[partner], 1 - kept)
            pairs = [(label, share * kept) for label, share in pairs] + [
                (label[partner], (share[partner] if share.dim() else share) * (1 - kept)) for label, share in pairs
            ]
        outputs = self.network(x)
        smoothing = self.dials["label_smoothing.amount"] if "label_smoothing" in self.on else 0.0
        loss = torch.stack([
            (share * F.cross_entropy(outputs, label, label_smoothing=smoothing, reduction="none")).mean()
            for label, share in pairs
        ]).sum()  # fmt: skip
        if "l1" in self.on:
            loss = loss + self.dials["l1.weight"] * torch.stack([p.abs().sum() for p in self.decayed]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        if "clip_norm" in self.on:
            nn.utils.clip_grad_norm_(self.parameters, self.dials["clip_norm.limit"], foreach=True)
        self.optimizer.step()
        if self.shadow:
            with torch.no_grad():
                torch._foreach_lerp_(self.shadow, self.parameters, 1 - self.dials["ema.decay"])

    @torch.no_grad()
    def evaluate(self) -> None:
        """Look at the rows to stop by, with the averaged weights and their own batch statistics, and keep the best."""
        raw = [p.clone() for p in self.parameters]
        if self.shadow:
            torch._foreach_copy_(self.parameters, self.shadow)
            if "batch_norm" in self.on:
                torch.optim.swa_utils.update_bn([self.inputs[self.rows[:1024]]], self.network)
        self.network.eval()
        loss = float(F.cross_entropy(self.network(self.inputs[self.stop]), self.labels[self.stop]))
        if loss < self.best[0]:
            self.best = (loss, copy.deepcopy(self.network.state_dict()))
        self.network.train()
        torch._foreach_copy_(self.parameters, raw)


class Noise(nn.Module):
    """Adds Gaussian noise to the hidden units while it trains."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * torch.randn_like(x) if self.training else x


def study(table: str, rounds: int, seconds: float = 0.4) -> dict[str, Any]:
    """Return the processor time of one network's step: alone, and with the evaluations that a study makes."""
    cohort, configs, folds = study_cohort(table)
    batch, every = cohort.plan.batch, cohort.plan.every
    population, problem = cohort.population, cohort.problem
    networks = len(population)
    loops = [Loop(problem, config, folds, batch) for config in configs]
    turn = itertools.cycle(loops)

    def looped(count: int) -> None:
        for _ in range(count * len(loops)):
            next(turn).step()

    def stepped(count: int) -> None:
        population.train(problem.rows, count, batch, folds.train[cohort.fold])

    def watched(count: int) -> None:
        for number in range(1, count + 1):
            looped(1)
            if number % every == 0:
                for loop in loops:
                    loop.evaluate()

    def advanced(count: int) -> None:
        for _ in range(max(1, round(count / every))):
            cohort.advance(population.state.step + every)

    found: dict[str, Any] = {"table": table, "batch": batch, "members": networks, "rounds": rounds}
    kinds: dict[str, tuple[Steps, Steps]] = {"step": (looped, stepped), "watched": (watched, advanced)}
    for kind, (theirs, ours) in kinds.items():
        both = {"loop": (theirs, len(loops)), "population": (ours, networks)}
        counts = {name: count_for(*one, seconds) for name, one in both.items()}
        if kind == "watched":
            counts = {name: every * max(1, round(count / every)) for name, count in counts.items()}
        costs: dict[str, list[float]] = {name: [] for name in both}
        for _ in range(rounds):
            for name, (steps, many) in both.items():
                cost: Cost = timed(steps, counts[name], many)
                costs[name].append(cost.processor)
        found[kind] = {
            "loop_us": median_us(costs["loop"]), "population_us": median_us(costs["population"]),
            "ratio": ratio(costs["loop"], costs["population"]),
        }  # fmt: skip
    return found


def told(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of the study arm as lines."""

    def shown(found: list[float]) -> str:
        return f"{found[0]:.1f} ({found[1]:.1f} to {found[2]:.1f})"

    lines = ["", f"a study's bracket, one core, {rows[0]['rounds']} rounds: processor time of a network's step, "
             "(a) alone, (b) with evaluations",
             f"{'table':>9}{'batch':>7}{'members':>9}{'(a) loop us':>13}{'member us':>11}{'ratio (spread)':>20}"
             f"{'(b) loop us':>13}{'member us':>11}{'ratio (spread)':>20}"]  # fmt: skip
    for row in rows:
        step, watched = row["step"], row["watched"]
        lines.append(f"{row['table']:>9}{row['batch']:>7}{row['members']:>9}{step['loop_us']:>13.0f}"
                     f"{step['population_us']:>11.0f}{shown(step['ratio']):>20}{watched['loop_us']:>13.0f}"
                     f"{watched['population_us']:>11.0f}{shown(watched['ratio']):>20}")  # fmt: skip
    return lines


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("\n".join(told([study(table, 5) for table in TABLES])))
