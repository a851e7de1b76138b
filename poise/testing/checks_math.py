"""Checks of the mathematics: gradients, maps that bring weights no further apart, and runs that resume."""

from __future__ import annotations

import copy
import dataclasses
import io
from typing import Any

import torch
from torch import Tensor
from torch.autograd import gradcheck

from poise.core.kinds import inserted_layers
from poise.core.recipe import Recipe
from poise.core.terms import data_keys
from poise.testing.trial import Trial, equal, tensors, trial_of, worst

__all__ = ["check_gradient", "check_layers", "check_non_expansive", "check_resume"]


def check_gradient(trial: Trial) -> int:
    """Derivatives in float64, with the key fixed, agree with finite differences."""
    case = trial.case(dtype=torch.float64)
    names = list(case["params"])
    inputs = case["batch"]["inputs"].clone().requires_grad_()
    weights = tuple(case["params"][name].clone().requires_grad_() for name in names)
    seen = 0
    if "network" in trial.stages:

        def outputs(inputs: Tensor, *weights: Tensor) -> Any:
            return trial.outputs(case, dict(zip(names, weights, strict=True)), inputs)

        assert gradcheck(outputs, (inputs, *weights), eps=1e-6, atol=1e-6, rtol=1e-5)
        seen += 1
    if "objective" in trial.stages and "scale" not in trial.part.needs:  # a threshold's term is only reported
        memory = trial.start(case)

        def added(*weights: Tensor) -> Tensor:
            here = case | {"params": dict(zip(names, weights, strict=True))}
            terms, _ = trial.run("objective", here, memory)
            data = torch.stack([terms[name] for name in data_keys(terms)]).sum()
            # A small data term keeps every weight in the graph; a weighting has no other.
            total: Tensor = terms[trial.part.name] + 0.01 * data if trial.part.name in terms else data
            return total

        assert gradcheck(added, weights, eps=1e-6, atol=1e-6, rtol=1e-5)
        seen += 1
    return seen


def check_non_expansive(trial: Trial) -> int:
    """Two weights are no further apart after the stage than before, in the metric of the optimizer's scale."""
    seen = 0
    for stage in (s for s in trial.stages if s in ("shrink", "update")):
        for step in range(8):
            first = trial.case(step=step, dtype=torch.float64)
            second = first | {"params": trial.case(step=step + 100, dtype=torch.float64)["params"]}
            level = {name: torch.full_like(s, float(s.flatten()[0])) for name, s in first["scale"].items()}
            memory = trial.start(first)
            one = trial.run(stage, first | {"scale": level}, memory)[0]
            two = trial.run(stage, second | {"scale": level}, memory)[0]
            for name in one:
                before = float((first["params"][name] - second["params"][name]).norm())
                after = float((one[name] - two[name]).norm())
                assert after <= before * (1 + 1e-12), f"{stage}: {name} moves apart, {before:.6g} -> {after:.6g}"
                seen += 1
    return seen


def check_resume(trial: Trial) -> int:
    """Six steps equal three steps, a save, a load into a new part, and three more; memory is tensors only."""

    def steps(trial: Trial, memory: Any, numbers: range) -> tuple[list[Any], Any]:
        values = []
        for step in numbers:
            out = trial.once(trial.case(step=step), memory, step)
            values.append(out["values"])
            memory = out["memory"]
        return values, memory

    start = trial.start(trial.case())
    whole, end = steps(trial, start, range(6))
    plain = [path for path, leaf in (*_leaves(start), *_leaves(end)) if not isinstance(leaf, Tensor)]
    assert not plain, f"memory must hold tensors only; {', '.join(plain)} is not one"
    first, middle = steps(trial, trial.start(trial.case()), range(3))
    file = io.BytesIO()
    torch.save(middle, file)
    file.seek(0)
    again = trial_of(Recipe.from_yaml(Recipe(trial.part).to_yaml())[trial.part.name], trial.sample)
    rest, other_end = steps(again, torch.load(file, weights_only=True), range(3, 6))
    assert equal(whole, first + rest), "values after a resume differ"
    assert equal(end, other_end), "the memory after a resume differs"
    assert tensors(start).keys() == tensors(end).keys(), "the memory changes its form"
    return 6


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    from torch.utils import _pytree as pytree

    return [(pytree.keystr(path), leaf) for path, leaf in pytree.tree_flatten_with_path(tree)[0]]


def check_layers(trial: Trial) -> int:
    """A network with the part's layers copies, saves and loads; its state has only what it learns."""
    layers = list(inserted_layers(trial.module))
    assert layers, "no layer is inserted into the sample network"
    case = trial.case()
    twin = dataclasses.replace(trial, module=copy.deepcopy(trial.module))
    assert equal(trial.outputs(case), twin.outputs(case)), "a deep copy gives other outputs"
    state = trial.module.state_dict()
    passing = {f"{path}.{name}" for path, _ in layers for name in ("key", *trial.part.dials())}
    extra = sorted(passing & state.keys())
    assert not extra, f"dials or keys are saved with the weights: {extra}"
    other = trial_of(trial.part, trial.sample)
    other.module.load_state_dict(state)
    assert equal(dict(other.module.state_dict()), dict(state)), "a state does not load"
    twice = [trial.outputs(case) for _ in range(2)]
    assert worst(twice[0], twice[1]) == 0, "a second forward pass on one key differs"
    return 4
