"""Parts of one stage and one rank: those that commute do so bit for bit, and the others are known by name."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import pytest
import torch

from poise import BatchNorm, ClipNorm, Decay, Dropout, Ema, LabelSmoothing, MaxNorm, Mixup, Recipe
from poise.core.regularizer import EVERY_STAGE, STEP, Regularizer
from poise.testing import Sample, sample_for
from poise.testing.samples import table_network
from poise.testing.trial import Trial, copied, equal, trial_of

for _folder in sorted({*EVERY_STAGE} - {"shrink"}):
    importlib.import_module(f"poise.{_folder}")

KINDS = {key: kind for key, kind in sorted(Regularizer.registry.items()) if kind.__module__.startswith("poise.")}

# Pairs of one stage and rank whose order matters: it is that of their names.
ORDER_MATTERS = {
    ("batch", "crop", "random_resized_crop"), ("batch", "aug_mix", "rand_augment"),
    ("batch", "aug_mix", "trivial_augment"), ("batch", "rand_augment", "trivial_augment"),
    ("batch", "color_jitter", "equalize"), ("batch", "color_jitter", "sharpness"),
    ("batch", "color_jitter", "solarize"), ("batch", "equalize", "sharpness"), ("batch", "grid_mask", "random_erasing"),
    ("batch", "cut_mix", "mixup_or_cut_mix"), ("batch", "mixup", "mixup_or_cut_mix"),
    ("batch", "cutout", "random_erasing"), ("batch", "input_noise", "swap_noise"), ("batch", "cut_mix", "mixup"),
    ("gradient", "ca_grad", "grad_vac"), ("gradient", "ca_grad", "pc_grad"), ("gradient", "grad_vac", "pc_grad"),
    ("gradient", "clip_norm", "clip_value"),
    ("update", "elastic_net", "group_lasso"), ("update", "elastic_net", "unit_lasso"),
    ("update", "group_lasso", "unit_lasso"),
}  # fmt: skip
ACTING: dict[str, dict[str, float]] = {
    "max_norm": {"limit": 0.7}, "clip_norm": {"limit": 0.5}, "clip_value": {"limit": 0.3}, "l1": {"weight": 2.0},
    "adaptive_clip": {"limit": 0.05}, "elastic_net": {"weight": 2.0}, "group_lasso": {"weight": 2.0},
    "unit_lasso": {"weight": 2.0},
}  # fmt: skip


def pairs() -> list[tuple[str, str, str]]:
    """All pairs of one stage and rank, without the parts that bring layers: their network differs."""
    found = []
    for stage in STEP:
        keys = [k for k, kind in KINDS.items() if stage in kind.stages() and "network" not in kind.stages()]
        found += [(stage, a, b) for a, b in itertools.combinations(keys, 2) if KINDS[a].rank == KINDS[b].rank]
    return found


def sample_of(one: Regularizer, other: Regularizer) -> Sample:
    """The sample of the part that is harder to please: twins, several tasks, images."""
    return max(
        (sample_for(one), sample_for(other)),
        key=lambda s: (s.inputs.dim(), len(s.tasks), s.module is not table_network),
    )


def folded(trials: tuple[Trial, Trial], stage: str, case: Any) -> Any:
    value = trials[0].value(case, stage)
    for this in trials:
        part, memory = this.part, this.start(case)
        value, _ = getattr(part, stage)(copied(value), memory, this.context(case, 0, stage))
    return value


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(("stage", "first", "second"), pairs())
def test_the_order_of_a_pair_matters_only_where_it_is_said(stage: str, first: str, second: str, part_of: Any) -> None:
    parts = [part_of(key, **ACTING.get(key, {})) for key in (first, second)]
    sample = sample_of(*parts)
    one, other = (trial_of(part, sample) for part in parts)
    case = one.case()
    commutes = equal(folded((one, other), stage, case), folded((other, one), stage, case))
    assert commutes == ((stage, first, second) not in ORDER_MATTERS)


def test_every_pair_that_is_said_to_matter_is_there() -> None:
    assert set(pairs()) >= ORDER_MATTERS


def test_any_order_of_listing_is_one_order_of_acting() -> None:
    """For every pair of parts, in every stage."""
    parts = {key: object.__new__(kind) for key, kind in KINDS.items()}
    for key, part in parts.items():
        object.__setattr__(part, "name", key)
    for a, b in itertools.combinations(parts.values(), 2):
        one, other = Recipe(a, b), Recipe(b, a)
        for stage in EVERY_STAGE:
            assert [p.name for p in one.stage(stage)] == [p.name for p in other.stage(stage)]


@pytest.mark.usefixtures("seeded")
def test_a_run_of_another_listing_ends_bit_for_bit_alike() -> None:
    parts = (
        BatchNorm(),
        Dropout(0.3),
        Mixup(0.4),
        LabelSmoothing(0.1),
        ClipNorm(0.5),
        Decay(0.1),
        MaxNorm(1.0),
        Ema(0.5),
    )
    inputs, labels = torch.randn(12, 5), torch.arange(12) % 3
    found = []
    for listed in (parts, parts[::-1]):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        run = Recipe(*listed).start(model, seed=2, classes=3)
        optimizer = torch.optim.Adam(run.model.parameters(), lr=0.01)
        for _ in range(8):
            x, y = run.batch(inputs, labels)
            outputs = run.model(x)
            run.objective(torch.nn.functional.cross_entropy(outputs, y), outputs=outputs).backward()
            run.update(optimizer)
        found.append(run.model.state_dict() | {f"average {n}": t for n, t in (run.averaged or {}).items()})
    assert [name for name in found[0] if not torch.equal(found[0][name], found[1][name])] == []
