"""The battery is held to its own claims: sound parts pass, each seeded fault fails the check that is meant for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.kinds import Penalty, Proximal, Transform
from poise.core.regularizer import Memory, Regularizer, snake
from poise.core.rng import Rng, key
from poise.core.select import select
from poise.testing import battery as battery_module
from poise.testing.battery import check_regularizer, declared_checks, failures

DOC = """Does what the tests of the battery need.

    Neutral: amount = 0.
    Shapes: any.
    Units: none.
    Raises: ArgumentError if amount is outside [0, 1].
    Source: these tests.

    >>> 1 + 1
    2
    """


def like(dial_value: Any, tensor: Tensor) -> Tensor:
    return torch.as_tensor(dial_value).to(tensor.dtype)


@dataclass(frozen=True)
class TinyNoise(Transform):
    formula: ClassVar[str] = "x + amount u"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        return rng.uniform("u", tuple(batch.inputs.shape), batch.inputs.dtype)

    def apply(self, batch: Batch, draw: Tensor, ctx: Context) -> Batch:
        return batch._replace(inputs=batch.inputs + like(self.amount, batch.inputs) * draw.to(batch.inputs.dtype))


@dataclass(frozen=True)
class TinyPenalty(Penalty):
    formula: ClassVar[str] = "amount sum w^2"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        total = torch.zeros(())
        for p in params.values():
            total = total + (p if p.dtype == torch.float64 else p.float()).square().sum()
        return torch.as_tensor(self.amount) * total


@dataclass(frozen=True)
class TinyProximal(Proximal):
    formula: ClassVar[str] = "prox of amount |w| / 2"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        return torch.as_tensor(self.amount) * sum((p.abs().sum().float() for p in params.values()), torch.zeros(()))

    def proximal(self, name: str, weight: Tensor, scale: Tensor, ctx: Context) -> Tensor:
        return weight.sign() * (weight.abs() - like(self.amount, weight) * scale).clamp(min=0)


@dataclass(frozen=True)
class TinyMean(Regularizer):
    formula: ClassVar[str] = "mean <- mean + (1 - amount) (w - mean)"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        return {"mean": {name: p.detach().clone() for name, p in params.items()}}

    def average(self, weights: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        mean = {n: w + like(self.amount, w) * (memory["mean"][n] - w) for n, w in weights.items()}
        return mean, {"mean": mean}


@dataclass(frozen=True)
class TinyStop(Regularizer):
    formula: ClassVar[str] = "stop when score > 1 / amount"
    amount: float = dial(0.9, neutral=0.0, high=1.0)

    def stop(self, stopped: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        return stopped | (ctx.score * torch.as_tensor(self.amount) > 1), memory


SOUND = [TinyNoise, TinyPenalty, TinyProximal, TinyMean, TinyStop]

# --- one fault each ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faulty(Regularizer, abstract=True):
    """A sound batch and update stage, for one fault to be put in."""

    formula: ClassVar[str] = "x (1 - amount), w (1 - amount)"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        noise = ctx.rng.uniform("u", tuple(batch.inputs.shape), batch.inputs.dtype).to(batch.inputs.dtype)
        return batch._replace(inputs=batch.inputs + like(self.amount, batch.inputs) * noise), memory

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return {name: p - like(self.amount, p) * p for name, p in params.items()}, memory


@dataclass(frozen=True)
class MutatesInput(Faulty):
    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        bias = ctx.params["0.bias"]
        bias.copy_(bias.clamp(-0.1, 0.1))
        return super().update(params, memory, ctx)


@dataclass(frozen=True)
class GlobalDraw(Faulty):
    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        torch.rand(3)
        return super().batch(batch, memory, ctx)


@dataclass(frozen=True)
class IgnoresMember(Faulty):
    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        keys = ctx.rng.keys * torch.tensor([1, 0, 1])
        noise = Rng(keys, ctx.rng.name).uniform("u", tuple(batch.inputs.shape), batch.inputs.dtype)
        return batch._replace(inputs=batch.inputs + (like(self.amount, noise) * noise).to(batch.inputs.dtype)), memory


@dataclass(frozen=True)
class IgnoresStep(Faulty):
    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        keys = ctx.rng.keys * torch.tensor([1, 1, 0])
        noise = Rng(keys, ctx.rng.name).uniform("u", tuple(batch.inputs.shape), batch.inputs.dtype)
        return batch._replace(inputs=batch.inputs + (like(self.amount, noise) * noise).to(batch.inputs.dtype)), memory


@dataclass(frozen=True)
class OneKeyForAll(Faulty):
    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        noise = Rng(key(0)).uniform("u", tuple(batch.inputs.shape), batch.inputs.dtype).to(batch.inputs.dtype)
        return batch._replace(inputs=batch.inputs + like(self.amount, batch.inputs) * noise), memory


@dataclass(frozen=True)
class MemoryInPlace(Faulty):
    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        return {"count": torch.zeros(())}

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        memory["count"].add_(1)
        return super().update(params, memory, ctx)


@dataclass(frozen=True)
class WrongType(Faulty):
    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        # What a float32 dial does to a bfloat16 weight when it is mapped and nobody casts it.
        wide = {name: p.float() if p.dtype == torch.bfloat16 else p for name, p in params.items()}
        return super().update(wide, memory, ctx)


@dataclass(frozen=True)
class NeutralActs(Faulty):
    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return {name: p * (1 - 0.01) for name, p in params.items()}, memory


@dataclass(frozen=True)
class LosesField(Faulty):
    # Plain data know one kind of sequence: a list comes back as a tuple.
    levels: Any = field(default_factory=lambda: [1, 2])


@dataclass(frozen=True)
class NotDeterministic(Faulty):
    calls: ClassVar[list[int]] = []

    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        NotDeterministic.calls.append(1)
        shift = like(self.amount, batch.inputs) * len(NotDeterministic.calls)
        return super().batch(batch._replace(inputs=batch.inputs + shift), memory, ctx)


@dataclass(frozen=True)
class MixesMembers(Faulty):
    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        # Reads how many members the mapped tensor holds behind vmap's back.
        physical = (
            torch._C._functorch.get_unwrapped(params["0.bias"]) if _mapped(params["0.bias"]) else params["0.bias"]
        )
        share = like(self.amount, params["0.bias"]) / physical.dim()
        return {name: p - share * p for name, p in params.items()}, memory


def _mapped(tensor: Tensor) -> bool:
    return bool(torch._C._functorch.is_batchedtensor(tensor))


@dataclass(frozen=True)
class MovesApart(Faulty):
    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return {name: p + like(self.amount, p) * p for name, p in params.items()}, memory


@dataclass(frozen=True)
class GrowsMemory(Faulty):
    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return super().update(params, memory | {"new": ctx.lr * 1}, ctx)[0], memory | {"new": ctx.lr * 1}


@dataclass(frozen=True)
class RemembersElsewhere(Faulty):
    seen: ClassVar[dict[float, int]] = {}

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        # A plain number in memory is lost when members are stacked.
        return super().update(params, memory, ctx)[0], {"steps": ctx.step}


@dataclass(frozen=True)
class NoBounds(Faulty):
    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or "no_bounds")


@dataclass(frozen=True)
class WrongGradient(Penalty):
    formula: ClassVar[str] = "amount sum w^2, differentiated as if w were held"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        total = sum(((p * p.detach()).sum().to(torch.float64) for p in params.values()), torch.zeros(()).double())
        return torch.as_tensor(self.amount) * total


@dataclass(frozen=True)
class TouchesAll(Regularizer):
    formula: ClassVar[str] = "w (1 - amount)"
    amount: float = dial(0.3, neutral=0.0, high=1.0)
    where: str = "weights"

    def shrink(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        select(ctx.roles, self.where)
        return {name: p - like(self.amount, p) * p for name, p in params.items()}, memory


@dataclass(frozen=True)
class Restarts(Regularizer):
    formula: ClassVar[str] = "stop when score > 1 / amount; start again"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def stop(self, stopped: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        return ctx.score * torch.as_tensor(self.amount) > 0.36, memory


@dataclass(frozen=True)
class DoesNothing(Regularizer):
    formula: ClassVar[str] = "w + 0 amount"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return {name: p + 0 * like(self.amount, p) for name, p in params.items()}, memory


@dataclass(frozen=True)
class NegativeTargets(Faulty):
    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        more, memory = super().batch(batch, memory, ctx)
        amount = like(self.amount, batch.targets)
        return more._replace(targets=batch.targets * (1 + amount)), memory


@dataclass(frozen=True)
class DrawsWhenApplied(Transform):
    formula: ClassVar[str] = "x + amount u"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        return rng.uniform("u", (1,))

    def apply(self, batch: Batch, draw: Tensor, ctx: Context) -> Batch:
        more = ctx.rng.uniform("v", tuple(batch.inputs.shape), batch.inputs.dtype).to(batch.inputs.dtype)
        return batch._replace(inputs=batch.inputs + like(self.amount, batch.inputs) * more)


@dataclass(frozen=True)
class OverwritesTerm(Penalty):
    formula: ClassVar[str] = "2 data"
    amount: float = dial(0.3, neutral=0.0, high=1.0)

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        return torch.as_tensor(self.amount) * sum((p.sum().double() for p in params.values()), torch.zeros(()).double())

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        terms, memory = super().objective(terms, memory, ctx)
        return terms | {"another": terms["data"]} if "another" in terms else terms, memory


@dataclass(frozen=True)
class Undocumented(Faulty):
    """Says nothing more."""


FAULTS: dict[type[Regularizer], set[str]] = {
    MutatesInput: {"inputs kept"},
    GlobalDraw: {"global generators"},
    IgnoresMember: {"another key"},
    IgnoresStep: {"another key"},
    OneKeyForAll: {"another key"},
    MemoryInPlace: {"inputs kept"},
    WrongType: {"bfloat16 kept"},
    NeutralActs: {"neutral"},
    LosesField: {"round trip"},
    NotDeterministic: {"same key", "member equals alone", "number equals tensor", "resume"},
    MixesMembers: {"member equals alone"},
    MovesApart: {"non-expansive"},
    GrowsMemory: {"resume"},
    RemembersElsewhere: {"resume", "member equals alone"},
    NoBounds: {"bounds of amount"},
    WrongGradient: {"gradient"},
    TouchesAll: {"selection"},
    Restarts: {"only or"},
    DoesNothing: {"acts"},
    NegativeTargets: {"distributions"},
    DrawsWhenApplied: {"replay"},
    OverwritesTerm: {"other terms"},
    Undocumented: {"docstring"},
}

for _kind in (*SOUND, *FAULTS):
    _kind.__doc__ = DOC if _kind is not Undocumented else _kind.__doc__
    del Regularizer.registry[snake(_kind.__name__)]  # only while a test of this file runs


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (*SOUND, *FAULTS):
        monkeypatch.setitem(Regularizer.registry, snake(kind.__name__), kind)


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_part_passes(kind: type[Regularizer]) -> None:
    report = check_regularizer(kind())
    assert report.count >= declared_checks(kind()) >= 17
    assert not set(report.ran) & set(report.not_applicable)
    assert all(report.not_applicable.values()), "every check that does not apply has a reason"


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.usefixtures("seeded")
def test_a_seeded_fault_is_caught_by_the_check_that_is_meant(kind: type[Regularizer]) -> None:
    _, failed = failures(kind())
    assert set(failed) == FAULTS[kind], failed


def test_all_failures_are_told_at_once() -> None:
    with pytest.raises(AssertionError, match=r"(?s)NeutralActs.*fails 1 of \d+ checks:\n  neutral: update: at neutral"):
        check_regularizer(NeutralActs())


def test_a_part_at_neutral_is_not_accepted() -> None:
    with pytest.raises(AssertionError, match="amount is at neutral"):
        check_regularizer(TinyNoise(0.0))


def test_running_too_few_checks_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery_module, "COMMON", battery_module.COMMON[1:])
    with pytest.raises(AssertionError, match=r"\d+ checks ran, its class calls for \d+"):
        check_regularizer(TinyMean())


def test_a_check_that_looks_at_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    blind = battery_module.Check("class facts", lambda trial: 0)
    monkeypatch.setattr(battery_module, "COMMON", (blind, *battery_module.COMMON[1:]))
    with pytest.raises(AssertionError, match="class facts: looked at no case"):
        check_regularizer(TinyMean())


@pytest.mark.usefixtures("rng_untouched")
def test_the_battery_leaves_the_global_generators_alone() -> None:
    check_regularizer(TinyNoise())
