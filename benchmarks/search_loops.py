"""The rival of `search.py`: Optuna's TPE with successive halving over plain torch loops, as a good user writes them.

Nothing of poise trains here. The network is the study's own module with `nn.BatchNorm1d` and `nn.Dropout` put in, the
optimizer a fused `AdamW`, mixup one beta draw a batch, label smoothing torch's; patience restores the best weights.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.search_watch import Notes
from poise.study.cohort import Plan
from poise.study.folds import Folds
from poise.study.problem import Problem
from poise.study.space import Space

__all__ = ["search_with_loops"]

WARM_UP = 0.05


class Training:
    """One network in training on one fold; `advance` goes on to a step, `score` is of the best weights so far."""

    def __init__(self, problem: Problem, folds: Folds, fold: int, plan: Plan, on: dict[str, float], seed: int) -> None:
        torch.manual_seed(seed)
        self.problem, self.plan, self.on = problem, plan, on
        self.model = regularized(problem, on)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=on["lr"], betas=(0.9, 0.95), weight_decay=on.get("decay.rate", 0.0), fused=True
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        rows = problem.rows
        self.inputs, self.targets = rows.inputs[folds.train[fold]], rows.targets[folds.train[fold]]
        self.held = [self._held(mask[fold]) for mask in (folds.stop, folds.validation)]
        self.draws = np.random.default_rng(seed)
        self.order, self.place = torch.randperm(len(self.inputs)), 0
        self.step, self.best, self.waited, self.stopped = 0, math.inf, 0, False
        self.kept = copy.deepcopy(self.model.state_dict())

    def _held(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.problem.rows.inputs[mask > 0], self.problem.rows.targets[mask > 0]

    def _rate(self, step: int) -> float:
        share = step / self.plan.steps
        rise = (share + 0.5 / self.plan.steps) / WARM_UP
        fall = (1 + math.cos(math.pi * max(0.0, share - WARM_UP) / (1 - WARM_UP))) / 2
        return min(1.0, rise, fall)

    def advance(self, until: int) -> bool:
        """Train to the next evaluation or step `until`, look at the stop rows; returns whether they were never better.

        A network that has stopped does nothing.
        """
        if self.stopped or self.step >= until:
            return False
        self.model.train()
        for _ in range(min(self.plan.every, until - self.step)):
            self._one()
            self.step += 1
        score = self.loss_on(*self.held[0])
        better = score < self.best
        if better:
            self.best, self.waited, self.kept = score, 0, copy.deepcopy(self.model.state_dict())
        else:
            self.waited += 1
            self.stopped = self.waited >= 12
        self.stopped |= not math.isfinite(score)
        return better

    def _one(self) -> None:
        if self.place + self.plan.batch > len(self.order):
            self.order, self.place = torch.randperm(len(self.order)), 0
        rows = self.order[self.place : self.place + self.plan.batch]
        self.place += self.plan.batch
        x, y = self.inputs[rows], self.targets[rows]
        if "mixup.alpha" in self.on:
            share = float(self.draws.beta(self.on["mixup.alpha"], self.on["mixup.alpha"]))
            partner = torch.randperm(len(x))
            x, y = torch.lerp(x[partner], x, share), torch.lerp(y[partner], y, share)
        head = self.problem.heads[0]
        outputs = self.model(x)
        if head.classes:
            loss = F.cross_entropy(
                outputs, y, weight=head.class_weights, label_smoothing=self.on.get("label_smoothing.amount", 0.0)
            )
        else:
            loss = F.mse_loss(outputs, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()

    def loss_on(self, inputs: Tensor, targets: Tensor) -> float:
        """Return the loss of the weights at hand."""
        self.model.eval()
        with torch.no_grad():
            return self._lost(self.model(inputs), targets)

    def answers(self, *inputs: Tensor) -> list[Tensor]:
        """Return the best weights' outputs."""
        now = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(self.kept)
        self.model.eval()
        with torch.no_grad():
            found = [self.model(part) for part in inputs]
        self.model.load_state_dict(now)
        return found

    def judge(self, outputs: Tensor) -> float:
        """Return the loss of outputs on the validation rows."""
        return self._lost(outputs, self.held[1][1])

    def _lost(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the loss after the best temperature, as a study scores its networks."""
        head, weights, outputs = self.problem.heads[0], torch.ones(1, len(outputs)), outputs[None]
        total, rows = head.score(outputs / head.temperatures(outputs, targets, weights), targets[None], weights)
        return float(total[0] / rows[0])


def regularized(problem: Problem, on: dict[str, float]) -> nn.Module:
    """Return the study's network with batch norm and dropout as modules."""
    model = problem.builder()()
    for place, block in enumerate(model.blocks):
        linear, activation = block
        norm = [nn.BatchNorm1d(linear.out_features)] if "batch_norm" in on else []
        dropout = [nn.Dropout(on["dropout.p"])] if "dropout.p" in on else []
        model.blocks[place] = nn.Sequential(linear, *norm, activation, *dropout)
    return model


def search_with_loops(
    problem: Problem, space: Space, folds: Folds, plan: Plan, seed: int, seconds: float, storage: Path, notes: Notes,
    worker: int,
) -> int:  # fmt: skip
    """Search in this process until the time is up; returns how many configurations it has tried.

    Several workers share one study through `storage`.
    """
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, n_startup_trials=16, seed=seed * 100 + worker
        )
        backend = optuna.storages.journal.JournalFileBackend(str(storage))
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="search",
            load_if_exists=True,
            sampler=sampler,
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2, bootstrap_count=0),
        )
    tried = [0]

    def objective(trial: Any) -> float:
        tried[0] += 1
        config = space.suggest(trial, trial.number)
        on = {key: value for key, value in config.dials.items() if key.split(".")[0] in config.on}
        on |= {"lr": config.lr} | ({"batch_norm": 1.0} if "batch_norm" in config.on else {})
        runs = [Training(problem, folds, fold, plan, on, seed + trial.number) for fold in range(len(folds))]
        score = math.inf
        for rung, until in enumerate((*plan.rungs, plan.steps)):
            while not all(run.stopped or run.step >= until for run in runs):
                better = [run.advance(until) for run in runs]
                if any(better):
                    score = _looked_at(problem, folds, runs, trial.number, notes)
                if time.time() > notes.began + seconds:
                    raise optuna.TrialPruned
            if not math.isfinite(score):
                raise optuna.TrialPruned
            if until < plan.steps:
                trial.report(score, 2**rung)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return score

    study.optimize(objective, timeout=max(0.0, notes.began + seconds - time.time()))
    return tried[0]


def _looked_at(problem: Problem, folds: Folds, runs: list[Training], number: int, notes: Notes) -> float:
    """Return the configuration's loss on the validation rows, and note it where it counts."""
    outputs = [run.answers(run.held[1][0], notes.inputs) for run in runs]
    score = float(np.mean([run.judge(own) for run, (own, _) in zip(runs, outputs, strict=True)]))
    if notes.counts(number, score):
        held = torch.full((len(problem.rows), problem.outputs), torch.nan)
        for fold, (own, _) in enumerate(outputs):
            held[folds.validation[fold] > 0] = own
        notes.write(number, score, held, torch.stack([test for _, test in outputs]))
    return score
