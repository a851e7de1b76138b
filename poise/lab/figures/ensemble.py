"""The mean of several networks against its members: what averaging removes, and what it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.recipe import Recipe
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, Seed, State
from poise.lab.scene import Axis, Bars, Dots, Frame, Line, Number, Plot, Table
from poise.predict import Ensemble
from poise.train.bagging import bootstrap_rows
from poise.train.losses import SquaredError
from poise.train.population import Population, Rows

__all__ = ["EnsembleFigure", "Members", "trained", "truth"]

MANY, ROWS = 25, 24  # members, and rows that each is trained on
NOISE, STEPS, RATE = 0.4, 200, 0.02
_IN_COMMON = {"own": 0.0, "half": 0.5, "same": 1.0}


@dataclass(frozen=True)
class Members:
    """Trained networks and their answers (members, places) at the places of the grid."""

    networks: tuple[nn.Module, ...]
    grid: Tensor
    answers: Tensor
    data: Rows
    rows: Tensor  # (members, rows) that each was trained on

    def errors(self) -> Tensor:
        """Return answer - truth, (members, places), in float64."""
        return (self.answers - truth(self.grid)[:, 0]).double()


def truth(x: Tensor) -> Tensor:
    """Return what the rows follow but for their noise."""
    return torch.sin(3 * x) + 0.5 * x


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1))


@lru_cache(maxsize=16)
def trained(kind: str, seed: int) -> Members:
    """Train 25 networks of different first weights at once; `kind` says which rows each of them sees."""
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(MANY * ROWS, 1, generator=generator) - 2
    data = Rows(x, truth(x) + NOISE * torch.randn(x.shape, generator=generator))
    if kind == "bagging":
        rows = bootstrap_rows(range(MANY), ROWS, seed)
    else:
        rows = torch.arange(MANY * ROWS).reshape(MANY, ROWS).clone()
        rows[:, : round(_IN_COMMON[kind] * ROWS)] = rows[0, : round(_IN_COMMON[kind] * ROWS)]
    population = Population(network, Recipe(), SquaredError(), lr=[RATE] * MANY, seed=seed)
    population.train(data, STEPS, ROWS, rows)
    stack = population.stack()
    networks = tuple(stack.network(place) for place in range(MANY))
    grid = torch.linspace(-2, 2, 61)[:, None]
    with torch.no_grad():
        answers = Ensemble(networks, space="output").answers(grid)[..., 0]
    return Members(networks, grid, answers, data, rows)


_CODE = """\

def truth(x):
    return torch.sin(3 * x) + 0.5 * x


def network():
    return nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1))


generator = torch.Generator().manual_seed({seed})
x = 4 * torch.rand(25 * 24, 1, generator=generator) - 2
y = truth(x) + 0.4 * torch.randn(x.shape, generator=generator)
rows = torch.arange(25 * 24).reshape(25, 24).clone()  # which rows each member sees
{rows}
population = Population(network, Recipe(), SquaredError(), lr=[0.02] * 25, seed={seed})
population.train(Rows(x, y), 200, 24, rows)
networks = [population.stack().network(place) for place in range(25)]

grid = torch.linspace(-2, 2, 61)[:, None]
with torch.no_grad():
    errors = (Ensemble(networks, space="output").answers(grid) - truth(grid))[..., 0].double()
    members = Ensemble(networks[:{k}], space="output")
    answers, mean = members.answers(grid), members(grid)
products = errors @ errors.T / errors.shape[1]
alone, shared = products.diagonal().mean(), (products.sum() - products.trace()) / (25 * 24)
print("error of a member", float(products.diagonal()[:{k}].mean()))
print("error of the mean", float((mean - truth(grid)).double().square().mean()))
print("spread of the members", float((answers - mean).double().square().mean()))
print("correlation of their errors", float(shared) / float(alone))
"""


class EnsembleFigure(Figure):
    """Errors of members and of their mean, measured against the truth."""

    id: ClassVar[str] = "ensemble"
    title: ClassVar[str] = "Averaging divides by k what the members do not share"
    caption: ClassVar[str] = (
        "Small networks, each trained on 24 noisy rows of the dashed curve. Their mean is nearer to it than they are; "
        "how much nearer depends on whether they err together."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "With rows of their own, how much of the error do 5 members leave? 25? Predict, then move the slider.",
        "Give all the same rows: only the first weights differ. What is the mean worth now?",
        "Bagging draws each member's rows from one table. Is it nearer to own rows or to the same rows?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("one", {"members": 1}),
        Preset("five", {"members": 5}),
        Preset("twenty-five", {"members": 25}),
        Preset("they err together", {"members": 25, "rows": "same"}),
        Preset("bagging", {"members": 25, "rows": "bagging"}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        kinds = (("own", "all their own"), ("half", "half in common"), ("bagging", "bagging"), ("same", "all the same"))
        return (
            Range("members", "Members", 1, MANY, 25, 1, whole=True, export=6),
            Choice("rows", "Rows of the members", kinds, "own"),
            Seed(label="Data", export=2),
        )

    def compute(self, state: State) -> Frame:
        k, kind, seed = _read(state)
        found = trained(kind, seed)
        errors = found.errors()
        products = errors @ errors.T / errors.shape[1]  # mean over places of the product of two members' errors
        alone = float(products.diagonal().mean())
        shared = float((products.sum() - products.trace()) / (MANY * (MANY - 1)))
        members = float(products.diagonal()[:k].mean())
        mean = _mean(found, k)
        together = float((mean - truth(found.grid)[:, 0]).double().square().mean())
        spread = float((found.answers[:k] - mean).double().square().mean())
        return Frame(
            panels=(
                _curves(found, k, mean),
                _split(members, together, spread),
                _law(k, alone, shared, together),
                *(_small(found, count) for count in (1, 5, 25)),
            ),
            numbers=(
                Number("error of a member", members, f"{members:.4f}", "valid"),
                Number("error of the mean", together, f"{together:.4f}", "train"),
                Number("spread of the members", spread, f"{spread:.4f}"),
                Number("correlation of their errors", shared / alone, f"{shared / alone:.3f}"),
            ),
            notice=_notice(k, shared / alone),
        )

    def code(self, state: State) -> str:
        k, kind, seed = _read(state)
        common = round(_IN_COMMON.get(kind, 0.0) * ROWS)
        rows, bagging = [f"rows[:, :{common}] = rows[0, :{common}]  # in common"] if common else [], []
        if kind == "bagging":
            rows = [f"rows = bootstrap_rows(range({MANY}), {ROWS}, {seed})  # of one table"]
            bagging = ["from poise.train.bagging import bootstrap_rows"]
        return "\n".join(
            [
                "import torch",
                "from torch import nn",
                "",
                "from poise import Ensemble, Recipe",
                *bagging,
                "from poise.train.losses import SquaredError",
                "from poise.train.population import Population, Rows",
                "",
                *_CODE.format(seed=seed, rows="\n".join(rows), k=k).splitlines(),
            ]
        )

    def describe(self, state: State, frame: Frame) -> str:
        k, kind, _ = _read(state)
        member, mean, spread, correlation = frame.numbers
        rows = {"own": "rows of their own", "half": "half of their rows in common", "same": "the same rows"}
        return (
            f"{k} network{'s' * (k > 1)} with {rows.get(kind, 'bootstrap samples of one table')}: a member's squared "
            f"error is {member.text}, that of the mean {mean.text}; the rest, {spread.text}, is what they disagree on "
            f"(correlation of their errors {correlation.text})."
        )

    def table(self, frame: Frame) -> Table:
        law = frame.panels[2]
        assert isinstance(law, Plot)
        lines = [mark for mark in law.marks if isinstance(mark, Line)][:2]
        rows = [[int(at), *values] for at, *values in zip(lines[0].x, *(line.y for line in lines), strict=True)]
        return Table(("members", *(line.label for line in lines)), rows)


def _read(state: State) -> tuple[int, str, int]:
    return int(state["members"]), str(state["rows"]), int(state["seed"])


def _mean(found: Members, count: int) -> Tensor:
    """Return the ensemble's answers on the grid."""
    with torch.no_grad():
        mean: Tensor = Ensemble(found.networks[:count], space="output")(found.grid)[:, 0]
    return mean


def _drawn(values: Tensor) -> list[float]:
    """Return values to a thousandth, finer than a pixel: a quarter of the bytes."""
    return [round(value, 3) for value in values.tolist()]


def _curves(found: Members, k: int, mean: Tensor) -> Plot:
    x = _drawn(found.grid[:, 0])
    rows = found.rows[0]
    # All 25, those beyond k empty: a moved slider then sends one member's line, not all of them again.
    thin = [
        Line(
            "members" if place == 0 else "",
            x * (place < k),
            _drawn(found.answers[place]) * (place < k),
            "zero",
            thin=True,
        )
        for place in range(MANY)
    ]
    return Plot(
        "The members and their mean",
        Axis("x", -2, 2),
        Axis("y", -3, 3),
        (
            Dots("rows of the first", _drawn(found.data.inputs[rows, 0]), _drawn(found.data.targets[rows, 0])),
            *thin,
            Line("truth", x, _drawn(truth(found.grid)[:, 0]), "truth", dashed=True),
            Line("mean", x, _drawn(mean)),
        ),
        height=280,
    )


def _split(members: float, together: float, spread: float) -> Plot:
    names = ((2.0, "a member"), (1.0, "the mean"), (0.0, "their spread"))
    return Plot(
        "A member's error = error of the mean + spread",
        Axis("squared error", 0.0),
        Axis("", -0.6, 2.6, ticks=names),
        (
            Bars("", [2.0], [members], "valid", width=0.6, sideways=True),
            Bars("", [1.0], [together], "train", width=0.6, sideways=True),
            Bars("", [0.0], [spread], "zero", width=0.6, sideways=True),
        ),
        height=160,
    )


def _law(k: int, alone: float, shared: float, together: float) -> Plot:
    counts = list(range(1, MANY + 1))
    return Plot(
        "Error against the number of members",
        Axis("members k", 0, MANY + 1),
        Axis("squared error", 0.0),
        (
            Line("mean of k, on average", counts, [alone / n + (n - 1) / n * shared for n in counts]),
            Line("if they shared nothing", counts, [alone / n for n in counts], "plain", dashed=True),
            Line("what all share", [1, MANY], [shared, shared], "truth", dashed=True, thin=True),
            Dots("these", [k], [together], "train", "ring"),
        ),
        height=240,
    )


def _small(found: Members, count: int) -> Plot:
    x, mean = _drawn(found.grid[:, 0]), _mean(found, count)
    return Plot(
        f"Mean of {count}",
        Axis("x", -2, 2),
        Axis("y", -3, 3),
        (
            Line("truth", x, _drawn(truth(found.grid)[:, 0]), "truth", dashed=True),
            Line("mean", x, _drawn(mean)),
        ),
        height=150,
        small=True,
    )


def _notice(k: int, correlation: float) -> str:
    if k == 1:
        return "One member is its own mean: there is nothing to average. Add members."
    together = (
        "These members make nearly the same errors: more of them hardly help. Give them other rows, or other parts."
    )
    return together if correlation > 0.8 else ""
