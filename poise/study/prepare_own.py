"""Examples for a network of your own made ready for a study: divided, checked, brought to tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from torch import nn

from poise.core.errors import PoiseWarning
from poise.data import Table, Target, split
from poise.data.split import split_beside
from poise.data.target import Task
from poise.study.own_data import Examples
from poise.study.own_network import OwnDesign, OwnEncoder, check_step
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.source import Weighting
from poise.study.target_rows import check_parts, head_of, of_rows, target_from

__all__ = ["prepare_own", "target_of"]

TARGET = "y"
"""What the target is called."""


def prepare_own(
    examples: Examples,
    model: Callable[[], nn.Module],
    *,
    seed: int,
    task: Task | None,
    class_weight: Weighting,
    encoder: OwnEncoder,
) -> Prepared:
    """Divide the examples and train a network for a step; nothing is fitted to the inputs.

    The test part is the one that was given, else a fifth. Raises: DataError if nothing can be learned; ArgumentError
    if the step fails.
    """
    values = _values(examples)
    target = target_of(examples, task)
    codes = target.encode(values)
    inputs = encoder.transform(examples.inputs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PoiseWarning)
        if examples.test is None:
            parts = split(codes, task=target.task, seed=seed)
        else:
            parts = split_beside(examples.test, codes, task=target.task, seed=seed)
    development = np.sort(np.concatenate([parts.train, parts.stop, parts.validation]))
    check_parts([target], [codes], {"development": development, "test": parts.test})
    target = of_rows(target, values, codes, development)
    codes = target.encode(values)
    design = OwnDesign(model, encoder.inputs)
    problem = Problem.of(
        inputs[development], [codes[development]], [head_of(target, class_weight)], plan=encoder, design=design
    )
    problem, told = check_step(problem)
    notes = [*examples.notes, *_of_range(encoder), *told, *(str(one.message) for one in caught)]
    shape = " x ".join(map(str, encoder.shape))
    return Prepared(
        Table(examples.name, pd.DataFrame({"row": np.arange(len(values))}), pd.DataFrame({TARGET: values})),
        np.arange(len(values)),
        (target,),
        parts,
        development,
        inputs,
        (codes,),
        encoder,
        problem,
        {"x": f"{encoder.inputs}, {shape}"},
        tuple(notes),
        None,
        None,
    )


def target_of(examples: Examples, task: Task | None) -> Target:
    """Return the target that the labels are. Raises: DataError if nothing can be learned."""
    return target_from(_values(examples), task)


def _values(examples: Examples) -> pd.Series:
    return pd.Series(examples.labels, name=TARGET)


def _of_range(encoder: OwnEncoder) -> list[str]:
    """Return what is to be said of inputs that have the shape of pictures and the range of something else."""
    if encoder.inputs == "other" and len(encoder.shape) == 3 and encoder.shape[0] in (1, 3):
        return [
            "the inputs have the shape of pictures, but not their range: no flips, crops or mixing are searched. Give "
            "uint8, or floats in [0, 1], and standardise inside the network."
        ]
    return []
