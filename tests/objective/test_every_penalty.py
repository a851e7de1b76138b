"""What every penalty of the package holds: its sign, its least value, its derivative at kinks and ties, its scale."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from poise.core.dial import dials_of
from poise.core.kinds import Proximal
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.core.select import select
from poise.core.terms import data_keys
from poise.network import Dropout
from poise.testing import Sample, example, sample_for
from poise.testing.trial import Case, Trial, trial_of

for _folder in sorted({*EVERY_STAGE} - {"shrink"}):
    importlib.import_module(f"poise.{_folder}")

pytestmark = pytest.mark.usefixtures("seeded")  # the checks of derivatives draw their directions

Params = dict[str, Tensor]


def at_zero(trial: Trial, params: Params) -> Params:
    return {name: torch.zeros_like(p) for name, p in params.items()}


def orthonormal(trial: Trial, params: Params) -> Params:
    return {name: torch.eye(*p.shape, dtype=p.dtype) if p.dim() == 2 else p for name, p in params.items()}


def as_the_first_twin(trial: Trial, params: Params) -> Params:
    return {name: params[name.replace("second", "first")] for name in params}


def as_at_the_start(trial: Trial, params: Params) -> Params:
    """At the start, where what counts as the head is zero."""
    start = trial.case(dtype=torch.float64)["params"]
    head = [*params][-2]
    return start | {head: torch.zeros_like(start[head])}


def unchanged(trial: Trial, params: Params) -> Params:
    return params


@dataclass(frozen=True)
class Law:
    """What a penalty promises of itself, beyond what its own tests hold."""

    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    least: Callable[[Trial, Params], Params] = at_zero  # weights at which it is least
    floor: Callable[[Regularizer], float] = lambda part: 0.0  # its least value
    of_whole: bool = False  # what is >= 0 is the data's share and the term together
    degree: float = math.nan  # value at t times the weights from `origin` = t^degree times the value
    scaled: Callable[[str], bool] = lambda name: True  # the weights that are scaled for it
    kink: str = ""  # why it has no derivative at zero weights


def of_outputs(name: str) -> bool:
    return name in ("5.weight", "5.bias")


PENALTIES = {
    "activation_penalty": Law({"l1": 1e-9, "l2": 0.5}, kink="|h| at h = 0"),
    "adversarial": Law(of_whole=True, kink="the sign of a gradient that is 0"),
    "aug_mix": Law(),
    "confidence_penalty": Law({"weight": 0.125}, floor=lambda part: -0.125 * math.log(3)),
    "distillation": Law(least=unchanged, of_whole=True),
    "elastic_net": Law({"ratio": 0.5}, kink="|w| at w = 0"),
    "group_lasso": Law(degree=1.0, kink="|w| at w = 0"),
    "hierarchical_lasso": Law(degree=1.0, kink="|w| at w = 0"),
    "input_gradient_penalty": Law(),
    "jacobian_penalty": Law(degree=2.0, scaled=of_outputs),
    "l1": Law(degree=1.0, kink="|w| at w = 0"),
    "l2": Law(degree=2.0),
    "orthogonal": Law({"weight": 0.125}, least=orthonormal),
    "pull_to_start": Law(least=as_at_the_start),
    "r_drop": Law(),
    "soft_sharing": Law({"modules": ("first", "second")}, least=as_the_first_twin, degree=2.0),
    "spectral_decoupling": Law(degree=2.0, scaled=of_outputs),
    "temporal_penalty": Law(),
    "unit_lasso": Law(degree=1.0, kink="|w| at w = 0"),
    "virtual_adversarial": Law(kink="the direction is that of the largest curvature, which is 0 everywhere"),
}
"""All parts that add a term of their own; a new one without a law fails below."""

NO_PENALTY = {
    "dynamic_weights": "weighs the losses", "grad_norm": "weighs the losses", "manifold_mixup": "mixes the targets",
    "task_weight": "weighs the losses", "uncertainty_weights": "weighs the losses",
}  # fmt: skip

# The strength is one number in front, or two in front of two sums.
STRENGTHS = {
    "activation_penalty": ("l1", "l2"), "pull_to_start": ("weight", "head"), "temporal_penalty": ("size", "change"),
    "adversarial": ("share",), "distillation": ("share",),
}  # fmt: skip
SMOOTH = [name for name, law in PENALTIES.items() if not law.kink]
# Two report what they threshold and no more; of one the direction is held constant.
DIFFERENTIATED = [n for n in PENALTIES if n not in ("hierarchical_lasso", "unit_lasso", "virtual_adversarial")]


def smooth_network() -> nn.Module:
    """The table's network without the kinks of ReLU, which would be mistaken for the penalty's."""
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


class Twins(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = smooth_network(), smooth_network()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.first(inputs) + self.second(inputs)
        return outputs


def dropping_network() -> nn.Module:
    return Dropout(0.3).network(smooth_network())


def sample_of(part: Regularizer) -> Sample:
    """The battery's sample, smooth, and with what the part needs in order not to be zero."""
    sample = sample_for(part)
    if part.name == "aug_mix":  # smooth as it is; fewer pixels will do
        few: dict[str, Any] = {"inputs": sample.inputs[:2, :, :8, :8]}
        return dataclasses.replace(sample, targets=sample.targets[:2], weights=sample.weights[:2], **few)
    if part.name == "temporal_penalty":  # smooth as it is
        return sample
    module = {"soft_sharing": Twins, "r_drop": dropping_network}.get(part.name, smooth_network)
    return dataclasses.replace(sample, module=module)


def trial(name: str, **fields: Any) -> Trial:
    part = example(Regularizer.registry[name], **(PENALTIES[name].fields | fields))
    return trial_of(part, sample_of(part))


def random(trial: Trial, seed: int) -> Params:
    params: Params = trial.case(member=1, step=seed, dtype=torch.float64)["params"]
    return params


def value(trial: Trial, params: Params, whole: bool = False) -> Tensor:
    """The term (0-d) at these weights; `whole`: with the data's loss."""
    start: Case = trial.case(dtype=torch.float64)
    terms, _ = trial.run("objective", start | {"params": params}, trial.start(start))
    term: Tensor = terms[trial.part.name]
    return term + sum(terms[key] for key in data_keys(terms)) if whole else term


def function(trial: Trial, params: Params) -> Tensor:
    """The term; that of a threshold, which is reported without gradient, is the function behind it."""
    part = trial.part
    if not isinstance(part, Proximal):
        return value(trial, params)
    ctx = trial.context(trial.case(dtype=torch.float64) | {"params": params}, 0, "objective")
    return part.penalty({name: params[name] for name in select(ctx.roles, part.where)}, ctx)


def derivative(trial: Trial, params: Params) -> Params:
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    term = value(trial, leaves)
    if not term.requires_grad:  # a threshold that only reports
        return at_zero(trial, params)
    found = torch.autograd.grad(term, [*leaves.values()], allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(params.items(), found, strict=True)}


def checked(trial: Trial, params: Params) -> bool:
    """Whether the derivative, along a random direction in all weights, is that of finite differences."""
    weights = tuple(p.clone().requires_grad_() for p in params.values())

    def term(*weights: Tensor) -> Tensor:
        found = function(trial, dict(zip(params, weights, strict=True)))
        # A small sum keeps every weight in the graph.
        return found + 1e-3 * torch.stack([w.sum() for w in weights]).sum()

    return gradcheck(term, weights, eps=1e-6, atol=1e-6, rtol=1e-5, fast_mode=True)


def test_every_part_with_a_term_has_a_law() -> None:
    found = {name for name, kind in Regularizer.registry.items()
             if kind.__module__.startswith("poise.") and "objective" in kind.stages()}  # fmt: skip
    assert found == PENALTIES.keys() | NO_PENALTY.keys()


@pytest.mark.parametrize("name", PENALTIES)
def test_it_is_never_below_its_least_value(name: str) -> None:
    this, law = trial(name), PENALTIES[name]
    floor = law.floor(this.part)
    for seed in range(10):
        assert float(value(this, random(this, seed), law.of_whole)) >= floor - 1e-12


@pytest.mark.parametrize("name", PENALTIES)
def test_it_is_exactly_at_its_least_value_at_its_minimiser(name: str) -> None:
    this, law = trial(name), PENALTIES[name]
    least = law.least(this, random(this, 3))
    term = float(value(this, least))
    if name == "distillation":  # the network is its own teacher: what is left is the data's share, given up
        whole = float(value(this, least, whole=True))
        assert whole == pytest.approx((1 - this.part.dials()["share"]) * (whole - term), rel=1e-12)
    else:
        assert term == pytest.approx(law.floor(this.part), abs=1e-14)


@pytest.mark.parametrize("name", sorted(PENALTIES.keys() - {"adversarial", "distillation", "virtual_adversarial"}))
def test_at_its_minimiser_its_gradient_is_zero(name: str) -> None:
    """Those left out: two are differences from the loss, of the third's direction there is none."""
    this = trial(name)
    found = derivative(this, PENALTIES[name].least(this, random(this, 3)))
    assert max(float(g.abs().max()) for g in found.values()) <= 1e-13


@pytest.mark.parametrize("name", PENALTIES)
def test_at_zero_weights_value_and_gradient_are_finite(name: str) -> None:
    """A norm written as sqrt(sum w^2) would give NaN here."""
    this = trial(name)
    zeros = at_zero(this, random(this, 0))
    assert bool(value(this, zeros).isfinite())
    assert all(bool(g.isfinite().all()) for g in derivative(this, zeros).values())


def test_a_norm_with_a_root_of_zero_would_be_caught() -> None:
    w = torch.zeros(3, requires_grad=True)
    assert not bool(torch.autograd.grad(w.square().sum().sqrt(), w)[0].isfinite().all())


@pytest.mark.parametrize("name", SMOOTH)
def test_at_zero_weights_its_gradient_is_that_of_finite_differences(name: str) -> None:
    this = trial(name)
    assert checked(this, at_zero(this, random(this, 0)))


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_at_ties_and_at_random_its_gradient_is_that_of_finite_differences(name: str, ties: bool) -> None:
    """At ties all weights are equal, and with them units, groups and logits."""
    this = trial(name)
    assert checked(this, {n: torch.full_like(p, 0.3) if ties else p for n, p in random(this, 5).items()})


@pytest.mark.parametrize("name", PENALTIES)
def test_twice_the_strength_is_twice_the_term_bit_for_bit(name: str) -> None:
    this = trial(name)
    fields = STRENGTHS.get(name, ("weight",))
    # A quarter and a half are legal shares too, and doubling rounds nothing.
    once, twice = (dict.fromkeys(fields, factor) for factor in (0.25, 0.5))
    params = random(this, 4)
    assert set(fields) <= dials_of(type(this.part)).keys()
    first, second = value(trial(name, **once), params), value(trial(name, **twice), params)
    assert float(first) != 0
    assert torch.equal(2 * first, second)


@pytest.mark.parametrize("name", [name for name, law in PENALTIES.items() if law.degree > 0])
@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_it_is_homogeneous_of_its_degree(name: str, factor: float) -> None:
    this, law = trial(name), PENALTIES[name]
    params = random(this, 6)
    scaled = {n: factor * p if law.scaled(n) else p for n, p in params.items()}
    assert float(value(this, params)) > 0
    assert float(value(this, scaled)) == pytest.approx(factor**law.degree * float(value(this, params)), rel=1e-12)


@pytest.mark.parametrize(("ratio", "degree"), [(0.0, 2), (1.0, 1)])
def test_elastic_net_has_the_degree_of_either_end(ratio: float, degree: int) -> None:
    this = trial("elastic_net", ratio=ratio)
    params = random(this, 6)
    tripled = {n: 3 * p for n, p in params.items()}
    assert float(value(this, tripled)) == pytest.approx(3**degree * float(value(this, params)), rel=1e-12)


@pytest.mark.parametrize(
    "name",
    ["adversarial", "confidence_penalty", "distillation", "input_gradient_penalty", "r_drop", "virtual_adversarial"],
)
def test_a_penalty_on_probabilities_does_not_see_a_shift_of_all_logits(name: str) -> None:
    this = trial(name)
    params = random(this, 6)
    shifted = params | {"5.bias": params["5.bias"] + 2.5}
    assert float(value(this, shifted)) == pytest.approx(float(value(this, params)), rel=1e-11, abs=1e-15)


def test_the_penalty_on_logits_sees_the_shift() -> None:
    this = trial("spectral_decoupling")
    params = random(this, 6)
    assert float(value(this, params | {"5.bias": params["5.bias"] + 2.5})) > 1.5 * float(value(this, params))
