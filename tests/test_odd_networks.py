"""Every regularizer in the plain loop on networks that are not textbook: frozen, tied, reused, odd and half weights."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError, PoiseWarning
from poise.core.kinds import Insertion
from poise.core.recipe import Recipe
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.testing import Sample, sample_for
from poise.train.run import Run, TrainingError

for _folder in sorted({*EVERY_STAGE} - {"shrink"}):
    importlib.import_module(f"poise.{_folder}")

pytestmark = pytest.mark.usefixtures("seeded")

KINDS = {key: kind for key, kind in sorted(Regularizer.registry.items()) if kind.__module__.startswith("poise.")}
UNLIKE_DENSE = {"gradient_noise": "of a sparse gradient the rows that occur get noise, of a dense one all"}
OWN_TYPE = {"adversarial": "a difference of the data's own losses, in their type"}


class Odd(nn.Module):
    """A frozen layer, one that is called twice and tied to another, a transposed, a 0-d and an empty parameter."""

    def __init__(self, contiguous: bool = False) -> None:
        super().__init__()
        self.twice = nn.Linear(3, 3, bias=False)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.tied = nn.Linear(3, 3, bias=False)
        self.tied.weight = self.twice.weight
        turned = torch.randn(3, 3).t()
        self.turned = nn.Parameter(turned.contiguous() if contiguous else turned)
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.empty = nn.Parameter(torch.zeros(0, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tied(self.frozen(self.twice(torch.tanh(self.twice(x)))))
        return F.linear(x, self.turned) * self.gain + self.empty.sum()


class Whole(nn.Module):
    """The battery's network for a part, with another module behind it."""

    def __init__(self, inner: nn.Module, behind: nn.Module) -> None:
        super().__init__()
        self.inner, self.behind = inner, behind

    def forward(self, x: Any) -> Tensor:
        answer: Tensor = self.behind(self.inner(x))
        return answer


def inside(part: Any) -> Regularizer:
    """The part for a network that stands inside a `Whole`."""
    paths = {"modules": tuple(f"inner.{path}" for path in part.modules)} if hasattr(part, "modules") else {}
    return dataclasses.replace(part, **paths)


def whole(sample: Sample, behind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    return Whole(sample.module(), behind())


def started(part: Regularizer, model: nn.Module, sample: Sample) -> Run:
    teacher = copy.deepcopy(model).eval() if "teacher" in part.needs else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)  # of a part that has little to do here
        return Recipe(part).start(model, seed=4, columns=sample.columns, classes=sample.classes, teacher=teacher)


def loss_of(run: Run, sample: Sample, x: Any, y: Tensor, factor: float = 1.0) -> Tensor:
    out = run.model(x)
    tasks = sample.task_targets(y)
    each = {task: factor * F.cross_entropy(out, own.to(out.dtype)) for task, own in tasks.items()}
    total: Tensor = run.objective(each or factor * F.cross_entropy(out, y.to(out.dtype)), outputs=out)
    return total


def train(part: Regularizer, model: nn.Module, sample: Sample, dtype: torch.dtype = torch.float64) -> Run:
    """Three steps with an evaluation after each."""
    run = started(part, model, sample)
    optimizer = torch.optim.SGD([p for p in run.model.parameters() if p.requires_grad], lr=0.05, momentum=0.5)
    inputs = sample.inputs.to(dtype) if sample.inputs.is_floating_point() else sample.inputs

    def closure() -> Tensor:
        total = loss_of(run, sample, *run.batch(inputs, sample.targets.to(dtype)))
        total.backward()
        return total

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)
        for step in range(3):
            run.step(optimizer, closure)
            run.stop(1.0 + 0.1 * step)
    return run


def state(run: Run) -> dict[str, Tensor]:
    averaged = {f"average/{name}": t for name, t in (run.averaged or {}).items()}
    return {name: t.clone() for name, t in (run.model.state_dict() | averaged).items()}


def gap(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    gaps = [(a.double() - second[n].double()).abs().max() for n, a in first.items() if a.numel()]
    return float(torch.stack(gaps).max())


@pytest.mark.parametrize("key", KINDS)
def test_odd_parameters_train_as_contiguous_ones_and_frozen_and_tied_stay_so(key: str, part_of: Any) -> None:
    part = inside(part_of(key))
    sample = sample_for(part)
    model = whole(sample, Odd).double()
    frozen = {name: p.clone() for name, p in model.behind.frozen.named_parameters()}  # type: ignore[union-attr]
    run = train(part, model, sample)
    for name, before in frozen.items():
        assert torch.equal(getattr(run.model.behind.frozen, name), before)
    assert run.model.behind.tied.weight is run.model.behind.twice.weight
    assert not run.model.behind.turned.is_contiguous()
    found = state(run)
    assert all(bool(t.isfinite().all()) for t in found.values())
    plain = train(part, whole(sample, lambda: Odd(contiguous=True)).double(), sample)
    assert gap(found, state(plain)) <= 1e-12


class Twice(nn.Module):
    """One weight, used twice: by one module, or by two that share it."""

    def __init__(self, modules: int) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = self.a if modules == 1 else nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.b(torch.tanh(self.a(x)))
        return answer


@pytest.mark.parametrize("key", [key for key, kind in KINDS.items() if not issubclass(kind, Insertion)])
def test_a_tied_weight_counts_once_as_that_of_a_module_called_twice_does_bit_for_bit(key: str, part_of: Any) -> None:
    """Layers are left out: two modules are two places for them."""
    part = inside(part_of(key))
    sample = sample_for(part)
    runs = [train(part, whole(sample, lambda n=n: Twice(n)), sample, torch.float32) for n in (1, 2)]  # type: ignore[misc]
    assert [name for name, _ in runs[0].model.named_parameters()] == [n for n, _ in runs[1].model.named_parameters()]
    first, second = (dict(run.model.named_parameters()) for run in runs)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert {n: float(t) for n, t in runs[0].terms.items()} == {n: float(t) for n, t in runs[1].terms.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("key", KINDS)
def test_half_weights_train_and_stay_half(key: str, dtype: torch.dtype, part_of: Any) -> None:
    part = inside(part_of(key))
    sample = sample_for(part)
    run = train(part, whole(sample, lambda: nn.Linear(3, 3)).to(dtype), sample, dtype)
    for name, p in run.model.named_parameters():
        assert p.dtype == dtype, name
        assert bool(p.isfinite().all()), name
    own = None if key in OWN_TYPE else run.terms.get(part.name)
    assert own is None or own.dtype in (torch.float32, torch.float64), "a sum in half precision overflows"


class Words(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4, sparse=sparse)
        self.hidden, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(torch.relu(self.hidden(self.table(x).mean(1))))
        return answer


@pytest.mark.parametrize("key", KINDS)
def test_sparse_gradients_train_as_dense_ones_or_are_refused_by_name(key: str, part_of: Any) -> None:
    part = part_of(key, **({"modules": ("hidden", "table")} if key == "soft_sharing" else {}))
    words = torch.tensor([[0, 2, 2], [2, 5, 1], [5, 5, 8], [7, 1, 0], [3, 3, 3], [8, 2, 4]])
    sample = dataclasses.replace(sample_for(part), inputs=words, columns=None)
    found: list[Any] = []
    for sparse in (True, False):
        torch.manual_seed(0)
        try:
            found.append(state(train(part, Words(sparse).double(), sample)))
        except ArgumentError as refusal:
            found.append(str(refusal))
    if isinstance(found[0], str):
        assert " must " in found[0]
        assert "; got " in found[0]
    else:
        assert (gap(found[0], found[1]) <= 1e-12) == (key not in UNLIKE_DENSE)


@pytest.mark.parametrize("key", KINDS)
def test_weights_that_cannot_be_trained_are_refused_and_the_model_stays_as_it_was(key: str, part_of: Any) -> None:
    part = inside(part_of(key))
    sample = sample_for(part)
    models = {
        "complex64": Whole(sample.module(), nn.Linear(3, 3, dtype=torch.complex64)),
        "meta device": Whole(sample.module(), nn.Linear(3, 3, device="meta")),
        r"the lazy behind\.weight": Whole(sample.module(), nn.LazyLinear(3)),
        r"behind\.weight of torch\.float8": Whole(sample.module(), nn.Linear(3, 3).to(torch.float8_e4m3fn)),
    }
    for word, model in models.items():
        before = [name for name, _ in model.named_modules()]
        with pytest.raises(ArgumentError, match=word):
            started(part, model, sample)
        assert [name for name, _ in model.named_modules()] == before


@pytest.mark.parametrize("key", KINDS)
def test_activations_in_place_change_nothing(key: str, part_of: Any) -> None:
    part = inside(part_of(key))
    sample = sample_for(part)
    found = []
    for in_place in (True, False):
        model = whole(sample, lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)))
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = in_place
        found.append(state(train(part, model, sample, torch.float32)))
    assert [name for name in found[0] if not torch.equal(found[0][name], found[1][name])] == []


@pytest.mark.parametrize("key", KINDS)
def test_a_loss_that_is_not_finite_is_named_and_no_weight_changes(key: str, part_of: Any) -> None:
    part = inside(part_of(key))
    sample = sample_for(part)
    run = started(part, whole(sample, lambda: nn.Linear(3, 3)), sample)
    before = {name: p.clone() for name, p in run.model.named_parameters()}
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.05)

    def closure() -> Tensor:
        total = loss_of(run, sample, *run.batch(sample.inputs.float(), sample.targets.float()), factor=torch.inf)
        total.backward()
        return total

    with pytest.raises(TrainingError, match=r"term 'data(/\w+)?' is (inf|nan) at step 0"):
        run.step(optimizer, closure)
    assert all(torch.equal(before[name], p) for name, p in run.model.named_parameters())


@pytest.mark.parametrize("key", KINDS)
def test_a_step_without_a_gradient_says_what_to_call(key: str, part_of: Any) -> None:
    part = inside(part_of(key))
    sample = sample_for(part)
    run = started(part, whole(sample, lambda: nn.Linear(3, 3)), sample)
    with pytest.raises(TrainingError, match="no gradient at step 0: call backward"):
        run.update(torch.optim.SGD(run.model.parameters(), lr=0.05))
