"""Which columns of a table a network needs: a path over strengths, and stability selection over halves of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError, DataError, shown
from poise.core.recipe import Recipe
from poise.core.schedule import Cosine
from poise.data import Encoder, Target
from poise.data.arguments import number, whole
from poise.data.frames import as_vector, check_lengths
from poise.data.split import split
from poise.data.target import Task
from poise.models.tabular import Mlp
from poise.study.feature_record import FeatureSelection
from poise.study.workers import one_thread
from poise.train.losses import CrossEntropy, SquaredError
from poise.train.population import Population
from poise.train.rows import Rows, take
from poise.update import Decay, HierarchicalLasso

__all__ = ["FeatureSelection", "select_features"]

Build = Callable[[int, int], nn.Module]
"""Takes the numbers of inputs and outputs, returns a new network whose first layer is linear over the inputs."""

_PILOT = 26  # strengths over 5 decades, few steps each, to find where features leave
_WARM_UP = 10  # times the steps of a strength: trained so long before the strength rises
_ROWS = 1024  # of a batch at most: the fewer, the more chance lets features in that are of no use
_DECAY = 1.0  # of all weights, times the rate: else the later layers would grow where the first may not
_REFIT_STEPS = 300


@one_thread()
def select_features(
    X: object,
    y: object,
    *,
    task: Task | None = None,
    build: Build | None = None,
    strengths: int | Sequence[float] = 32,
    hierarchy: float = 10.0,
    subsamples: int = 0,
    cutoff: float = 0.75,
    false_features: float = 1.0,
    width: int = 32,
    depth: int = 1,
    steps: int = 20,
    rate: float = 0.005,
    seed: int = 0,
) -> FeatureSelection:
    """Find the columns that a network needs, by `HierarchicalLasso` at rising strength.

    Path: a network is trained on 80 % of the rows, then its strength rises, `steps` steps at each, until no feature is
    left. Each set of features on the path is scored by a network trained anew on it alone, on the other rows, all sets
    at once; chosen is the smallest set within one standard error of the best.

    Stability (`subsamples` > 0; 50 is usual): the path is walked on so many random halves of the rows, all at once as
    one population; of each half the largest set of at most q features counts, chosen are the features in a share
    `cutoff` of the halves. With q = sqrt(false_features (2 cutoff - 1) F), the expected number of chosen features that
    are of no use is at most `false_features`, under the paper's assumptions (among them: features of no use are
    exchangeable).

    Features that say the same share the halves between them, so that none may reach the cutoff; the path's choice has
    no such bound and serves prediction. A network without a norm behind its first layer: a norm undoes the shrinking.

    X, y: frame or array, as `Classifier.fit` takes them; the columns of one category, date or text leave together.
    `build(inputs, outputs)`: the network, else an MLP of `depth` layers of `width`. `strengths`: how many, placed
    where features leave, or the strengths themselves. `rate`: of Adam.

    Raises: ArgumentError for an argument, DataError for the table.
    Source: Lemhadri, Ruan, Abraham and Tibshirani 2021, "LassoNet"; Meinshausen and Buehlmann 2010, "Stability
    selection", theorem 1; the one-standard-error rule: Breiman, Friedman, Olshen and Stone 1984.
    """
    _check(strengths, hierarchy, subsamples, cutoff, false_features, width, depth, steps, rate, seed)
    table = _encoded(X, y, task)
    names = table.names
    parts = split(table.labels, task=table.task, seed=seed, test=0.2, validation=0.0, stop=0.0)
    train, held = torch.from_numpy(parts.train), torch.from_numpy(parts.test)
    trainer = _Trainer(table, build or _mlp(width, depth), hierarchy, steps, rate, seed)
    if isinstance(strengths, int):
        grid = trainer.grid(train, strengths)
    else:
        grid = torch.tensor(sorted(strengths), dtype=torch.float32)
    kept = trainer.path(grid, train[None])[0]
    losses = trainer.refit(kept, train, held)
    chosen, margin = _smallest_good(kept, losses)
    frequencies = None
    if subsamples:
        limit = (false_features * (2 * cutoff - 1) * len(names)) ** 0.5
        sets = trainer.path(grid, _halves(len(table.labels), subsamples, seed))
        frequencies = _largest_of_at_most(sets, max(1, int(limit))).double().mean(0)
        chosen = frequencies >= cutoff
    return FeatureSelection(
        features=names,
        strengths=grid.double().numpy(),
        kept=kept.numpy(),
        scores=losses.double().mean(1).numpy(),
        margin=margin,
        chosen=tuple(name for name, own in zip(names, chosen.tolist(), strict=True) if own),
        frequencies=None if frequencies is None else frequencies.numpy(),
        cutoff=cutoff if subsamples else None,
        measure="log-loss" if table.classes else "squared error over variance",
    )


def _check(strengths: int | Sequence[float], hierarchy: float, subsamples: int, cutoff: float, false_features: float,
           width: int, depth: int, steps: int, rate: float, seed: int) -> None:  # fmt: skip
    if isinstance(strengths, int):
        whole("select_features.strengths", strengths, 2, "32 is usual.")
    else:
        if len(strengths) < 1:
            raise ArgumentError("`select_features.strengths` must have a strength; got none. Pass 32, or a list.")
        for strength in strengths:
            number("select_features.strengths", strength, "numbers above 0", 0.0, np.inf, "Pass 32, or a list.")
    number("select_features.hierarchy", hierarchy, "a number above 0", 0.0, np.inf, "10 is usual.")
    number("select_features.rate", rate, "a number above 0", 0.0, np.inf, "0.005 is usual.")
    number("select_features.false_features", false_features, "a number above 0", 0.0, np.inf, "1 is usual.")
    whole("select_features.subsamples", subsamples, 0, "50 is usual; 0 selects by validation.")
    if isinstance(cutoff, bool) or not isinstance(cutoff, (int, float)) or not 0.5 < cutoff <= 1:
        raise ArgumentError(f"`select_features.cutoff` must be in (0.5, 1]; got {shown(cutoff)}. 0.75 is usual.")
    for name, value in (("width", width), ("depth", depth), ("steps", steps)):
        whole(f"select_features.{name}", value, 1, "See the default.")
    whole("select_features.seed", seed, 0, "The same seed gives the same selection.")


@dataclass(frozen=True)
class _Table:
    """The encoded table: `rows` with targets (N, K) or (N, 1), `columns` (C,) the feature of each encoded column."""

    rows: Rows
    labels: np.ndarray
    task: Task
    classes: int | None
    columns: Tensor
    names: tuple[str, ...]

    def losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return (M, n) the loss of each row under each member's outputs (M, n, K)."""
        targets = take(self.rows.targets, rows)
        if self.classes:
            return -(targets * F.log_softmax(outputs, dim=-1)).sum(-1)
        return (outputs - targets).square().mean(-1)


def _encoded(X: object, y: object, task: Task | None) -> _Table:
    encoder = Encoder().fit(X)
    inputs, labels = encoder.transform(X), as_vector(y)
    check_lengths(X=len(inputs), y=len(labels))
    target = Target.fit(labels, task=task)
    codes = target.encode(labels)
    if len(np.unique(codes)) < 2:
        raise DataError("the target is the same in every row: no feature can tell it.")
    classes = len(target.labels) if target.task == "classification" else None
    wanted = F.one_hot(torch.from_numpy(codes), classes).float() if classes else torch.from_numpy(codes)[:, None]
    columns = torch.from_numpy(np.asarray(encoder.groups, dtype=np.int64))
    rows = Rows(torch.from_numpy(inputs), wanted)
    return _Table(rows, codes, target.task, classes, columns, tuple(encoder.group_names))


def _mlp(width: int, depth: int) -> Build:
    return lambda inputs, outputs: Mlp(inputs, outputs, width=width, depth=depth)


def _halves(rows: int, count: int, seed: int) -> Tensor:
    """Return (count, rows // 2) row numbers: random halves in complementary pairs (Shah and Samworth 2013)."""
    generator, half = np.random.default_rng([seed, 1]), rows // 2
    orders = [generator.permutation(rows) for _ in range((count + 1) // 2)]
    both = [part for order in orders for part in (order[:half], order[half : 2 * half])]
    return torch.from_numpy(np.sort(np.stack(both[:count]), axis=1))


def _smallest_good(sets: Tensor, losses: Tensor) -> tuple[Tensor, float]:
    """Return the smallest of the sets (S, F) within one standard error of the best, and that error."""
    scores = losses.mean(1)
    best = int(scores.argmin())
    margin = float(losses[best].std()) / losses.shape[1] ** 0.5
    good = [place for place in range(len(sets)) if float(scores[place]) <= float(scores[best]) + margin]
    return sets[min(good, key=lambda place: (int(sets[place].sum()), float(scores[place])))], margin


def _largest_of_at_most(sets: Tensor, limit: int) -> Tensor:
    """Return of each path (B, S, F) the set (B, F) at the weakest strength from which on no set is larger than limit.

    A feature that comes and goes at the path's weak end would count by chance.
    """
    small = sets.sum(2) <= limit
    reached = small.flip(1).int().cumprod(1).sum(1)  # how many strengths, from the strongest down
    place = (sets.shape[1] - reached).clamp(max=sets.shape[1] - 1)
    return sets[torch.arange(len(sets)), place] & (reached > 0)[:, None]


class _Masked(nn.Module):
    """A network that sees only some of its inputs; the mask is each member's own."""

    mask: Tensor

    def __init__(self, network: nn.Module, inputs: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mask", torch.ones(inputs))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.network(x * self.mask)
        return answer


@dataclass(frozen=True)
class _Trainer:
    """Trains populations on one table; every member starts from the same weights."""

    table: _Table
    build: Build
    hierarchy: float
    steps: int
    rate: float
    seed: int

    @property
    def inputs(self) -> int:
        return int(self.table.rows.inputs.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.table.rows.targets.shape[1])

    def grid(self, train: Tensor, count: int) -> Tensor:
        """Return strengths from where features begin to leave to where none is left, wider than on these rows."""
        inputs, targets = take(self.table.rows.inputs, train), take(self.table.rows.targets, train)
        slope = (inputs.T @ (targets - targets.mean(0)) / len(train)).norm(dim=1)
        tried = torch.logspace(-4, 1, _PILOT) * float(slope.max()) * max(1.0, 10 * self.hierarchy)
        sizes = self.path(tried, train[None], max(1, self.steps // 2))[0].sum(1)
        first = int((sizes == sizes.max()).nonzero().max())
        gone = (sizes == 0).nonzero()
        last = int(gone.min()) if len(gone) else _PILOT - 1
        return torch.logspace(float(tried[first].log10()) - 0.3, float(tried[last].log10()) + 0.3, count)

    def path(self, grid: Tensor, rows: Tensor, steps: int | None = None) -> Tensor:
        """Return (B, S, features) bool: what is left at each strength, trained on each set of rows (B, n)."""
        steps, members = steps or self.steps, len(rows)
        population = Population(
            lambda: self.build(self.inputs, self.outputs),
            Recipe(HierarchicalLasso(1e-3, hierarchy=self.hierarchy), Decay(_DECAY)),
            CrossEntropy() if self.table.classes else SquaredError(),
            lr=[self.rate] * members,
            dials={"hierarchical_lasso.weight": grid[:1].expand(members)},
            members=[0] * members,
            seed=self.seed,
            columns=self.table.columns,
            classes=self.table.classes,
        )
        skips = [name for name in population.program.roles if name.endswith("poise_hierarchical_lasso.skip")]
        weights = [name.replace("poise_hierarchical_lasso.skip", "weight") for name in skips]
        if not skips:
            raise ArgumentError(
                "`select_features.build` must return a network whose first layer is linear over its inputs; got none. "
                "Begin it with nn.Linear(inputs, ...)."
            )
        features, found = len(self.table.names), []
        population.train(self.table.rows, _WARM_UP * steps, _ROWS, rows)
        for strength in grid:
            population.state.dials["hierarchical_lasso.weight"] = strength.expand(members).clone()
            population.train(self.table.rows, steps, _ROWS, rows)
            own = population.weights()
            used = (own[weights[0]] != 0).any(1) | (own[skips[0]] != 0).any(1)
            found.append(torch.zeros(members, features).index_add(1, self.table.columns, used.float()) > 0)
        return torch.stack(found, 1)

    def refit(self, sets: Tensor, train: Tensor, held: Tensor) -> Tensor:
        """Return (S, held) the loss of each held-out row under a network trained anew on each set (S, features)."""
        population = Population(
            lambda: _Masked(self.build(self.inputs, self.outputs), self.inputs),
            Recipe(Decay(_DECAY)),
            CrossEntropy() if self.table.classes else SquaredError(),
            lr=[self.rate] * len(sets),
            members=[0] * len(sets),
            seed=self.seed,
            schedule=Cosine(1.0, 0.01, _REFIT_STEPS),
        )
        population.state.buffers["mask"] = sets[:, self.table.columns].float()
        population.train(self.table.rows, _REFIT_STEPS, _ROWS, train.expand(len(sets), -1))
        return self.table.losses(population.outputs(take(self.table.rows.inputs, held)), held)
