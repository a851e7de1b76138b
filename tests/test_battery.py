"""Every regularizer of the package passes the common battery; a new one without a sample fails here."""

from __future__ import annotations

import importlib
import io
from typing import Any

import pytest
import torch

from poise.batch import InputNoise
from poise.core.kinds import Insertion
from poise.core.recipe import Recipe
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.testing import Report, check_regularizer, example
from poise.testing.samples import image_sample, sample_for

for _folder in sorted({*EVERY_STAGE} - {"shrink"}):
    importlib.import_module(f"poise.{_folder}")

KINDS = {key: kind for key, kind in sorted(Regularizer.registry.items()) if kind.__module__.startswith("poise.")}

# Values at which a part acts on the small sample, where its default would not, or has none.
FIELDS: dict[str, dict[str, Any]] = {
    "augmentation_at_test": {"transforms": (InputNoise(0.3),), "samples": 3},
    "adaptive_clip": {"limit": 0.05},
    "budget": {"steps": 4},
    "clip_norm": {"limit": 0.5},
    "clip_value": {"limit": 0.3},
    "dynamic_weights": {"tasks": ("a", "b", "c"), "window": 1},
    "drop_block": {"size": 2},
    "elastic_net": {"weight": 2.0},
    "ghost_batch_norm": {"size": 3},
    "grad_norm": {"tasks": ("a", "b", "c")},
    "grad_vac": {"tasks": ("a", "b", "c")},
    "group_lasso": {"weight": 2.0},
    "hierarchical_lasso": {"weight": 2.0},
    "group_norm": {"groups": 1},
    "l1": {"weight": 2.0},
    "spectral_norm": {"iterations": 100},
    "solarize": {"threshold": 0.2},
    "soft_sharing": {"modules": ("first", "second")},
    "task_weight": {"tasks": ("b",)},
    "uncertainty_weights": {"tasks": ("a", "b", "c")},
    "unit_lasso": {"weight": 2.0},
    "lookahead": {"every": 2},
    "max_norm": {"limit": 0.7},
    "patience": {"evaluations": 2},
    "snapshot_ensemble": {"cycles": 3, "steps": 1, "last": 2},
    "swa": {"start": 2},
    "swag": {"start": 0, "deviations": 2, "samples": 3},
}

# Where a member of a population equals the same member alone to 2e-6 (float32) and 1e-12 (float64) but not bit for
# bit: a batched product or sum runs in another order. Everywhere else the battery demands equality.
ORDERED_SUMS = {
    "activation_penalty", "adversarial", "alpha_dropout", "attention_dropout", "aug_mix", "augmentation_at_test",
    "batch_ensemble", "batch_norm", "ca_grad", "confidence_penalty", "distillation", "drop_block", "drop_connect",
    "drop_path", "dropout", "dropout_at_test", "dynamic_weights", "elastic_net", "embedding_dropout", "front_scale",
    "gaussian_dropout", "ghost_batch_norm", "grad_norm", "grad_vac", "group_lasso", "group_norm", "hidden_noise",
    "hierarchical_lasso", "input_gradient_penalty", "jacobian_penalty", "l1", "l2", "layer_norm", "locked_dropout",
    "manifold_mixup", "orthogonal", "pc_grad", "pull_to_start", "r_drop", "recurrent_drop_connect", "rms_norm", "sam",
    "shake_drop", "shake_shake", "snapshot_ensemble", "soft_sharing", "spatial_dropout", "spectral_decoupling",
    "spectral_norm", "swag", "task_weight", "temperature", "temporal_penalty", "uncertainty_weights", "unit_lasso",
    "virtual_adversarial", "weight_noise", "weight_norm", "weight_standardization",
}  # fmt: skip

LEAST = 1998  # checks over all classes; raised when classes are added, never lowered


def part_of(key: str) -> Regularizer:
    return example(KINDS[key], **FIELDS.get(key, {}))


_reports: dict[str, Report] = {}


def report_of(key: str) -> Report:
    if key not in _reports:
        _reports[key] = check_regularizer(part_of(key))
    return _reports[key]


@pytest.mark.parametrize("key", KINDS)
def test_the_battery_passes(key: str) -> None:
    report_of(key)


@pytest.mark.parametrize("key", sorted(KINDS.keys() - ORDERED_SUMS))
def test_a_member_equals_the_same_member_alone_bit_for_bit(key: str) -> None:
    assert not report_of(key).notes


def _has_sites_in_images(key: str) -> bool:
    if not issubclass(KINDS[key], Insertion):
        return False
    part = part_of(key)
    assert isinstance(part, Insertion)
    return bool(part.find(image_sample(part).module()))


@pytest.mark.parametrize("key", [key for key in KINDS if _has_sites_in_images(key)])
def test_the_battery_passes_on_convolutions(key: str) -> None:
    check_regularizer(part_of(key), sample=image_sample(part_of(key)))


def _trained(key: str, saved: bool) -> dict[str, torch.Tensor]:
    """Six steps of the plain loop; `saved`: after three, everything goes through a file into new objects."""
    sample = sample_for(part_of(key))
    rows = [(sample.inputs.float() + 0.1 * step, sample.targets.float()) for step in range(6)]

    def begin() -> tuple[Any, torch.optim.Optimizer]:
        torch.manual_seed(5)
        teacher = sample.module() if "teacher" in KINDS[key].needs else None
        facts = {"columns": sample.columns, "classes": sample.classes, "teacher": teacher}
        run = Recipe(part_of(key)).start(sample.module(), seed=4, **facts)
        return run, torch.optim.AdamW(run.model.parameters(), lr=0.05, weight_decay=0.0)

    run, optimizer = begin()
    for step, (inputs, targets) in enumerate(rows):
        if saved and step == 3:
            file = io.BytesIO()
            torch.save((run.state_dict(), run.model.state_dict(), optimizer.state_dict()), file)
            file.seek(0)
            states = torch.load(file, weights_only=True)
            run, optimizer = begin()
            for target, state in zip((run, run.model, optimizer), states, strict=True):
                target.load_state_dict(state)

        def closure(run: Any = run, inputs: Any = inputs, targets: Any = targets) -> torch.Tensor:
            x, y = run.batch(inputs, targets)
            out = run.model(x)
            loss = torch.nn.functional.cross_entropy
            several = {task: loss(out, own) for task, own in sample.task_targets(y).items()}
            total: torch.Tensor = run.objective(several or loss(out, y), outputs=out)
            total.backward()
            return total

        run.step(optimizer, closure)
        run.stop(1.0 + 0.1 * step)
    with run.evaluation() as model:
        evaluated = {f"evaluated {name}": t.detach().clone() for name, t in model.state_dict().items()}
    return evaluated | run.model.state_dict() | {"stopped": torch.tensor(run.stopped)}


@pytest.mark.usefixtures("seeded")
@pytest.mark.filterwarnings("ignore:r_drop ha[sd] no effect:poise.PoiseWarning")  # the sample has no dropout
@pytest.mark.parametrize("key", KINDS)
def test_a_run_that_resumes_equals_one_that_never_stopped(key: str) -> None:
    whole, resumed = _trained(key, saved=False), _trained(key, saved=True)
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_as_many_checks_run_as_are_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {key: report_of(key).count for key in KINDS}
    with capsys.disabled():  # the count is what a reader of the log looks for
        print(f"\nbattery: {sum(counts.values())} checks over {len(counts)} regularizers")  # noqa: T201
    assert sum(counts.values()) >= LEAST, counts


def test_the_package_registers_its_regularizers() -> None:
    assert len(KINDS) >= 87
    assert torch.get_num_threads() == 1, "bit equality holds on one thread"
