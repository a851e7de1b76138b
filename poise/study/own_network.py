"""A network of your own in a study: what it reads, what builds it, and whether it can do its work."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from poise.core.errors import ArgumentError, DataError, shown
from poise.core.recipe import Recipe
from poise.data import Target
from poise.study.choices import Choices
from poise.study.choices_own import own_choices
from poise.study.design import NetworkDesign
from poise.study.own_data import inputs_of
from poise.study.problem import Problem, as_inputs
from poise.train.looped import is_looped, mark_looped
from poise.train.population import Population

__all__ = ["OwnDesign", "OwnEncoder", "check_network", "check_step"]

_ROWS = 4  # that a network is tried on
_PICTURES = ("images", "grey images")  # the keys of `INPUTS` that are pictures
_SLACK = 0.05  # beyond [0, 1], by which a resampling may overshoot; far below any other scale that pictures come in


@dataclass(frozen=True)
class OwnEncoder:
    """Inputs as a network of your own reads them: as they are, but uint8 pictures as floats in [0, 1].

    `shape` is one input's; `inputs` the kind by which parts are chosen, a key of `INPUTS`; `numbers` is "bytes" for
    uint8 pictures, "whole" for other whole numbers, which stay whole (tokens), or "floats".
    """

    shape: tuple[int, ...]
    inputs: str
    numbers: str

    @staticmethod
    def fit(inputs: np.ndarray) -> OwnEncoder:
        """Return the encoder of inputs (N, ...): by their shape, type and range, of which nothing else is learned."""
        shape = inputs.shape[1:]
        picture = len(shape) == 3 and shape[0] in (1, 3)
        if picture and inputs.dtype.kind == "f":
            picture = bool(inputs.min() >= 0 and inputs.max() <= 1)
        elif picture:
            picture = inputs.dtype == np.uint8
        if picture:
            kind = "images" if shape[0] == 3 else "grey images"
            return OwnEncoder(shape, kind, "bytes" if inputs.dtype == np.uint8 else "floats")
        numbers = "whole" if inputs.dtype.kind in "iu" else "floats"
        return OwnEncoder(shape, "vectors" if len(shape) == 1 and numbers == "floats" else "other", numbers)

    def transform(self, data: Any) -> np.ndarray:
        """Return inputs as the network reads them; `data` is an array (N, ...), a list of inputs or a data set.

        Raises: DataError for another shape, numbers of another kind, or pictures of another range.
        """
        found = inputs_of(data)
        kinds = {
            "bytes": found.dtype == np.uint8,
            "whole": found.dtype.kind in "iu",
            "floats": found.dtype.kind in "fb",
        }
        if found.shape[1:] != self.shape or not kinds[self.numbers]:
            raise DataError(
                f"inputs must be {self.numbers} of shape (N, {', '.join(map(str, self.shape))}), as those that were "
                f"learned; got {found.dtype} {found.shape}."
            )
        if self.numbers == "bytes":
            return found.astype(np.float32) / np.float32(255)
        if self.inputs in _PICTURES and len(found) and not -_SLACK <= found.min() <= found.max() <= 1 + _SLACK:
            raise DataError(
                f"pictures must be floats in [0, 1], as those that were learned; got {found.min():g} to "
                f"{found.max():g}. Divide levels of 0 to 255 by 255."
            )
        return found.astype(np.int64 if self.numbers == "whole" else np.float32)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what `from_state` takes: plain facts, and no arrays."""
        return {"shape": list(self.shape), "inputs": self.inputs, "numbers": self.numbers}, {}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> OwnEncoder:
        """Return the encoder that `state` told of."""
        return cls(tuple(int(side) for side in facts["shape"]), str(facts["inputs"]), str(facts["numbers"]))


@dataclass(frozen=True)
class OwnDesign(NetworkDesign):
    """A function that returns a new network of your own at each call, for a kind of inputs (a key of `INPUTS`).

    `looped`: torch.vmap is known not to map the network, so that members train one after another.
    """

    model: Callable[[], nn.Module]
    inputs: str
    looped: bool = False

    described: ClassVar[str] = "`model` builds"

    @property
    def choices(self) -> Choices:
        """The parts for such inputs that have a place in the network."""
        return own_choices(self.inputs, self.build(None, 0, None))

    @property
    def pictures(self) -> bool:
        """Whether the inputs are pictures."""
        return self.inputs in _PICTURES

    def build(self, plan: Any, outputs: int, edges: Tensor | None) -> nn.Module:
        """Return a new network; what it has of outputs is the function's affair, and was checked."""
        module = self.model()
        if self.looped:
            mark_looped(module)
        return module

    def facts(self) -> dict[str, Any]:
        """Return what can be told of it: no file can hold the function itself."""
        return {"model": _name(self.model), "inputs": self.inputs, "looped": self.looped}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], model: Callable[[], nn.Module] | None) -> Self:
        """Return the design with the function that builds the network again. Raises: ArgumentError without it."""
        if model is None:
            raise ArgumentError(
                "`load_model.model` must be the function that builds the network, because the folder has the weights "
                f"of a network of your own ({shown(facts['model'])}), which no folder can describe; got None. In "
                "Python: load_model(path, model=build)."
            )
        return cls(model, str(facts["inputs"]), bool(facts["looped"]))


def check_network(model: Any, encoder: OwnEncoder, inputs: np.ndarray, target: Target) -> None:
    """Raise ArgumentError unless `model()` returns new networks that read inputs, and whose outputs fit the target.

    Shapes: inputs (N, ...), a few of which are read -> (n, K) for K classes, (n, 1) for a number.
    """
    if isinstance(model, nn.Module) or not callable(model):
        raise ArgumentError(
            f"`Study.model` must be a function that returns a new network at each call; got {shown(model)}. A study "
            "trains many: write a function around it, or give the class if it needs no arguments."
        )
    with torch.random.fork_rng(devices=[]):
        first, second = _called(model), _called(model)
    if first is second or {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}:
        raise ArgumentError(
            f"`Study.model` must return a new network at each call; {_name(model)} returned the same one twice. Build "
            "it inside the function."
        )
    if any(is_lazy(one) for one in (*first.parameters(), *first.buffers())):
        raise ArgumentError(
            f"`Study.model` must return a network whose weights have their sizes; {_name(model)}'s has lazy layers, "
            "which wait for an input. Inside the function, call the network once on a few inputs before you return it."
        )
    if not any(parameter.requires_grad for parameter in first.parameters()):
        raise ArgumentError(
            f"`Study.model` must return a network that can be trained; {_name(model)}'s has no weights."
        )
    rows = as_inputs(encoder.transform(inputs[:_ROWS]))
    classes = len(target.labels)
    seen = f"{_name(model)} for inputs {tuple(rows.shape)} {rows.dtype}"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = first.eval()(rows)
    except Exception as error:  # whatever a network raises
        hint = " uint8 pictures come as floats in [0, 1]." if encoder.numbers == "bytes" else ""
        raise ArgumentError(
            f"`Study.model` must read its inputs; {seen} raised {type(error).__name__}: {error}.{hint}"
        ) from error
    wanted, what = (len(rows), classes or 1), f"{classes} classes" if classes else "a number"
    if not isinstance(found, Tensor) or found.shape != wanted:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ArgumentError(
            f"`Study.model` must return networks with outputs {wanted} for {what}; got {got} from {seen}. "
            + ("Give it logits, one a class, without a softmax." if classes else "Give it one number a row.")
        )


def check_step(problem: Problem) -> tuple[Problem, tuple[str, ...]]:
    """Train a network for one step, and return the problem with what is known then, and what is to be said of it.

    Where torch.vmap cannot map the network, the members of a population train one after another: that is found out
    here once, and not by each population. Raises: ArgumentError if the step fails.
    """
    rows = problem.rows.select(torch.arange(min(2 * _ROWS, len(problem.rows))))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            population = Population(problem.builder(), Recipe(), problem.loss(), lr=[1e-4])
            population.train(rows, 1, len(rows))
            population.outputs(rows.inputs)
        except ArgumentError:
            raise
        except Exception as error:
            raise ArgumentError(
                f"`Study.model` must return networks that can be trained; a step raised {type(error).__name__}: "
                f"{error}."
            ) from error
    if not is_looped(population.program.module):
        return problem, ()
    assert isinstance(problem.design, OwnDesign)
    told = tuple(str(one.message) for one in caught if "torch.vmap" in str(one.message))
    return dataclasses.replace(problem, design=dataclasses.replace(problem.design, looped=True)), told


def _called(model: Callable[[], Any]) -> nn.Module:
    try:
        found = model()
    except TypeError as error:
        raise ArgumentError(
            f"`Study.model` must be a function of no arguments; calling {_name(model)} raised: {error}."
        ) from error
    if not isinstance(found, nn.Module):
        raise ArgumentError(f"`Study.model` must return an nn.Module; {_name(model)} returned {shown(found)}.")
    return found


def _name(model: Any) -> str:
    return str(getattr(model, "__qualname__", type(model).__name__))
