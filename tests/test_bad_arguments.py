"""Bad inputs 46 to 82 of the plan, and every argument of every regularizer with a wrong type and value."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import (
    L1,
    L2,
    BatchNorm,
    CutMix,
    Decay,
    Dropout,
    Ema,
    GroupLasso,
    InputNoise,
    LabelSmoothing,
    Mixup,
    Patience,
    PoiseWarning,
    Recipe,
    Swa,
)
from poise.core.context import Batch, Context
from poise.core.dial import dials_of
from poise.core.errors import ArgumentError
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.testing import example
from poise.testing.checks_class import illegal_values

KINDS = {k: kind for k, kind in sorted(Regularizer.registry.items()) if kind.__module__.startswith("poise.")}
NEEDED: dict[str, dict[str, Any]] = {
    "augmentation_at_test": {"transforms": (InputNoise(0.1),)},
    "snapshot_ensemble": {"cycles": 2, "steps": 2},
    "swag": {"start": 2},
    "soft_sharing": {"modules": ("first", "second")},
    "swa": {"start": 2},
    **{kind: {"tasks": ("a", "b")} for kind in ("dynamic_weights", "grad_norm", "grad_vac", "task_weight")},
    "uncertainty_weights": {"tasks": ("a", "b")},
}


def refused(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


def context(**facts: Any) -> Context:
    return dataclasses.replace(Context(0, Rng(key(0)), classes=3), **facts)


def rows(count: int = 6) -> Batch:
    return Batch(
        torch.randn(count, 4, generator=torch.Generator().manual_seed(0)), torch.eye(3)[torch.arange(count) % 3]
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def train(recipe: Recipe, model: nn.Module, steps: int = 3, rate: float = 0.1, **options: Any) -> Any:
    """Train in the plain loop; return the run."""
    run = recipe.start(model, seed=0)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate, **options)
    for _ in range(steps):
        x, y = run.batch(*rows()[:2])
        out = run.model(x)
        run.objective(F.cross_entropy(out, y), outputs=out).backward()
        run.update(optimizer)
    return run


def item_46() -> None:
    for make in (Mixup, L1, L2, Decay, GroupLasso):
        refused(r"must be a finite number >= 0; got -0.1", lambda make=make: make(-0.1))


def item_47() -> None:
    for make in (Mixup, L1, L2, Decay):
        for value in (math.nan, math.inf, -math.inf):
            refused(r"must be a finite number >= 0; got ", lambda make=make, value=value: make(value))


def item_48() -> None:
    for value in ("0.1", True):
        refused(rf"`Mixup.alpha` must be a finite number >= 0; got {value!r} \(", lambda value=value: Mixup(value))


def item_49() -> None:
    refused("not a tensor that requires grad", lambda: Mixup(torch.tensor(0.1, requires_grad=True)))
    refused("not a tensor that requires grad", lambda: L1(nn.Parameter(torch.tensor(0.1))))


def item_50() -> None:
    model = Dropout(p=1.0).network(nn.Sequential(nn.ReLU()))
    assert model(torch.tensor([1.0, math.inf])).tolist() == [0.0, 0.0]


def item_51() -> None:
    refused(r"`Dropout.p` must be in \[0, 1\]; got -0.1", lambda: Dropout(-0.1))


def item_52() -> None:
    refused(r"`Dropout.p` must be in \[0, 1\]; got 1.5", lambda: Dropout(1.5))


def item_53() -> None:
    refused(r"`Dropout.p` must be in \[0, 1\]; got nan", lambda: Dropout(math.nan))


def item_54() -> None:
    refused(r"`LabelSmoothing.amount` must be in \[0, 1\]; got -0.1", lambda: LabelSmoothing(-0.1))


def item_55() -> None:
    refused(r"`LabelSmoothing.amount` must be in \[0, 1\]; got nan", lambda: LabelSmoothing(math.nan))


def item_56() -> None:
    refused(r"`LabelSmoothing.amount` must be in \[0, 1\]; got 1.5", lambda: LabelSmoothing(1.5))


def item_57() -> None:
    after, _ = LabelSmoothing(0.3).batch(Batch(torch.zeros(2, 1), torch.ones(2, 1)), {}, context(classes=1))
    assert after.targets.tolist() == [[1.0], [1.0]]
    assert float(F.cross_entropy(torch.randn(2, 1), after.targets)) == 0.0
    soft = torch.tensor([[0.5, 0.3, 0.2]])
    after, _ = LabelSmoothing(0.3).batch(Batch(torch.zeros(1, 1), soft), {}, context())
    assert torch.allclose(after.targets, 0.7 * soft + 0.1)


def item_57_ignore_index() -> None:
    run = Recipe(LabelSmoothing(0.3)).start(network(), classes=3)
    for labels, got in (([0, -100], "-100 to 0"), ([0, 3], "0 to 3")):
        refused(
            f"`Run.batch.targets` must be classes from 0 to 2; got {got}. Leave rows",
            lambda labels=labels: run.batch(torch.zeros(2, 4), torch.tensor(labels)),
        )


def item_58() -> None:
    before = rows()
    after, _ = Mixup(alpha=0.0).batch(before, {}, context())
    assert torch.equal(after.inputs, before.inputs)
    assert torch.equal(after.targets, before.targets)


def item_59() -> None:
    before = rows(1)
    for part in (Mixup(1.0), CutMix()):
        after, _ = part.batch(before, {}, context())
        assert torch.equal(after.inputs, before.inputs)
        assert torch.equal(after.targets, before.targets)


def item_60() -> None:
    # Here CutMix is for tables and images: what it refuses are sequences.
    sequences = Batch(torch.zeros(2, 4, 3), torch.eye(2))
    refused(r"`CutMix` must have ", lambda: CutMix().batch(sequences, {}, context()))


def item_61() -> None:
    model = BatchNorm().network(network())
    refused(
        r"`BatchNorm` must see 2 rows or more in a training batch; got 1. Pass drop_last",
        lambda: model(torch.zeros(1, 4)),
    )
    assert model.eval()(torch.zeros(1, 4)).shape == (1, 3)


def item_62() -> None:
    assert BatchNorm().network(network())(torch.zeros(0, 4)).shape == (0, 3)


def item_63() -> None:
    run = Recipe(BatchNorm()).start(network())
    run.model(torch.randn(5, 4))
    refused("must see 2 rows or more", lambda: run.model(torch.randn(1, 4)))


def item_66() -> None:
    refused(r"`GroupLasso.where`", lambda: GroupLasso(0.1, where="group"))
    model = network()
    before = model[0].bias.detach().clone()
    run = Recipe(GroupLasso(0.1, where="biases")).start(model)
    terms = run.objective(torch.tensor(0.0), outputs=torch.zeros(1))
    assert bool(torch.isfinite(terms))
    assert torch.equal(model[0].bias, before)


def item_67() -> None:
    refused(r"`Patience.evaluations` must be .*; got -1", lambda: Patience(-1))
    run = Recipe(Patience(0)).start(network())
    assert [run.stop(1.0), run.stop(2.0)][-1]


def item_68() -> None:
    run = train(Recipe(Patience(2)), network())
    answers = [run.stop(math.nan) for _ in range(4)]
    assert answers[-1], "a score that is never finite counts as no progress"
    assert run.best is None


def item_69() -> None:
    refused(r"`Patience.minimum_change` must be .*; got -0.1", lambda: Patience(3, minimum_change=-0.1))


def item_70() -> None:
    refused_or_frozen = Ema(decay=0.9999999)
    assert refused_or_frozen.decay == 0.9999999
    for decay in (1.0000001, 2.0):
        refused(r"`Ema.decay` must be in ", lambda decay=decay: Ema(decay=decay))


def item_71() -> None:
    model = network()
    run = train(Recipe(Ema(decay=0.0)), model)
    assert all(torch.equal(run.averaged[name], p.detach()) for name, p in model.named_parameters())


def item_72() -> None:
    refused(r"`Ema.decay` must be in ", lambda: Ema(decay=1.5))


def item_73() -> None:
    model = network()
    run = train(Recipe(Swa(start=100)), model)
    with run.evaluation():
        evaluated = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert all(torch.equal(evaluated[name], p.detach()) for name, p in model.named_parameters())


def item_74() -> None:
    with pytest.warns(PoiseWarning, match="both shrink the weights"):
        Recipe(L2(0.1), Decay(0.1)).start(network())
    with pytest.warns(PoiseWarning, match="weights are decayed twice"):
        train(Recipe(Decay(0.1)), network(), weight_decay=0.1)


def item_75() -> None:
    # Under a fused optimizer the threshold of each weight is read from its state, as under the plain one.
    models = [network() for _ in range(2)]
    for model, fused in zip(models, (False, True), strict=True):
        train(Recipe(L1(0.5)), model, steps=5, fused=fused)
    assert torch.equal(models[0][0].weight == 0, models[1][0].weight == 0)
    assert bool((models[0][0].weight == 0).any())


def item_76() -> None:
    with pytest.warns(PoiseWarning, match="the same regularizer twice"):
        Recipe(BatchNorm(), BatchNorm(name="again")).start(network())


def item_77() -> None:
    model = network().requires_grad_(False)
    refused("must have a parameter that requires grad; got none", lambda: Recipe(L1(0.1)).start(model))


def item_78() -> None:
    model = network()
    model[0].requires_grad_(False)
    before = {n: p.detach().clone() for n, p in model[0].named_parameters()}
    train(Recipe(L1(0.1), L2(0.1, where="all"), Dropout(0.2)), model)
    assert all(torch.equal(before[n], p) for n, p in model[0].named_parameters())


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 3))
    model[1].weight = model[0].weight
    return model


def item_79() -> None:
    model = tied()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    run = _quiet(Recipe(Decay(0.5), L2(2.0)), model)
    total = run.objective(torch.tensor(0.0))
    shared = 16.0 + float(model[2].weight.detach().square().sum())
    assert float(total.detach()) == pytest.approx(shared, rel=1e-6), "half of weight 2 times the squares, once"
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    run.update(torch.optim.SGD(model.parameters(), lr=0.1))
    assert model[0].weight.detach().unique().tolist() == pytest.approx([0.95])
    assert model[1].weight is model[0].weight


def item_80() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 3))
    run = train(Recipe(L1(0.1), Dropout(0.2)), model)
    assert len(run.roles) == 4
    assert bool(torch.isfinite(run.terms["l1"]))


def item_81() -> None:
    # Sparse gradients: handled as dense ones are, or refused by name; never a silent wrong update.
    tables = [nn.Embedding(5, 2, sparse=sparse) for sparse in (True, False)]
    tables[1].load_state_dict(tables[0].state_dict())
    for table in tables:
        run = Recipe(Decay(0.5, where="embeddings"), L1(0.2, where="embeddings")).start(table)
        run.objective(run.model(torch.tensor([1, 1, 3])).square().sum()).backward()
        run.update(torch.optim.SGD(table.parameters(), lr=0.1))
    # The same row twice in a batch is summed in another order.
    assert torch.allclose(tables[0].weight, tables[1].weight, rtol=0, atol=2e-6)


def item_82() -> None:
    model = nn.Linear(2, 2, dtype=torch.complex64)
    refused("must hold real numbers; got .*weight of torch.complex64", lambda: Recipe(L1(0.1)).start(model))


def _quiet(recipe: Recipe, model: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)
        return recipe.start(model)


ITEMS = {name.removeprefix("item_"): item for name, item in list(globals().items()) if name.startswith("item_")}


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("number", ITEMS)
def test_bad_input(number: str) -> None:
    ITEMS[number]()


# --- every argument of every regularizer ----------------------------------------------------------------------------

ARGUMENTS = [(k, f.name) for k, kind in KINDS.items() for f in dataclasses.fields(kind)]


def wrong_values(kind: type[Regularizer], field: str) -> dict[str, Any]:
    """Return wrong values of an argument, by a word for what is wrong."""
    declared = dials_of(kind).get(field)
    if declared is not None:
        return illegal_values(declared)
    default = next(f.default for f in dataclasses.fields(kind) if f.name == field)
    wrong: dict[str, Any] = {"object": object(), "dict": {"a": 1}, "None": None}
    if isinstance(default, bool):
        return wrong | {"text": "yes", "int": 1}
    if isinstance(default, str):
        return wrong | {"number": 3} | ({} if field == "name" else {"unknown": "nowhere"})
    wrong |= {"text": "3", "negative": -1, "NaN": math.nan, "bool": True}
    return wrong | ({"fraction": 2.5} if isinstance(default, int) else {})


@pytest.mark.usefixtures("rng_untouched")
@pytest.mark.parametrize(("key_of_class", "field"), ARGUMENTS)
def test_every_wrong_argument_is_named_with_its_value(key_of_class: str, field: str) -> None:
    kind = KINDS[key_of_class]
    part: Any = example(kind, **NEEDED.get(key_of_class, {}))
    accepted, unclear = [], []
    for word, value in wrong_values(kind, field).items():
        try:
            dataclasses.replace(part, **{field: value})
        except ArgumentError as error:
            if not str(error).startswith(f"`{kind.__name__}.{field}`") or "got " not in str(error):
                unclear.append(f"{word}: {error}")
        else:
            accepted.append(word)
    assert not accepted, f"{kind.__name__}.{field} takes {', '.join(accepted)}"
    assert not unclear, unclear
