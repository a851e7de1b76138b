"""One part on trial: synthetic values for every stage, so that each stage runs without a trainer.

A case is everything one member brings to one step, as a tree whose leaves are all tensors: it can be stacked over
members and mapped by `torch.vmap`, cloned, and compared leaf by leaf.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.utils import _pytree as pytree

from poise.core.context import Batch, Context
from poise.core.dial import at_step, dials_of
from poise.core.kinds import drawing, inserted_layers, recordings
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.core.select import Role, roles_of
from poise.core.terms import task_of
from poise.predict.copies import copy_with
from poise.testing.samples import Sample

__all__ = ["Case", "Trial", "cast", "copied", "equal", "tensors", "trial_of", "worst"]

Case = dict[str, Any]
"""Everything one member brings to one step; every leaf is a tensor."""


def tensors(tree: Any) -> dict[str, Tensor]:
    """Return the tensor leaves of a tree by path; None and plain numbers are left out."""
    leaves, _ = pytree.tree_flatten_with_path(tree)
    return {pytree.keystr(path): leaf for path, leaf in leaves if isinstance(leaf, Tensor)}


def copied(tree: Any) -> Any:
    """Return the tree with every tensor cloned."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, tree)


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """Return the tree with floating tensors in `dtype`."""
    return pytree.tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, tree)


def equal(first: Any, second: Any) -> bool:
    """Whether two trees have the same tensors, bit for bit; NaN equals NaN."""
    one, two = tensors(first), tensors(second)
    return one.keys() == two.keys() and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | (a.isnan() & b.isnan())).all())
        for a, b in ((one[path], two[path]) for path in one)
    )


def worst(first: Any, second: Any) -> float:
    """Return the largest difference, relative to max(1, |value|), over the leaves; inf for trees of different form."""
    one, two = tensors(first), tensors(second)
    if one.keys() != two.keys() or any(one[path].shape != two[path].shape for path in one):
        return float("inf")
    found = 0.0
    for path, a in one.items():
        a64, b64 = a.double(), two[path].double()
        gap = torch.where(a64 == b64, 0.0, (a64 - b64).abs() / b64.abs().clamp(min=1.0))
        found = max(found, float(gap.max()) if gap.numel() else 0.0)
    return found


@dataclass(frozen=True)
class Trial:
    """A part, the network with its layers, the network without, and what each parameter is."""

    part: Regularizer
    sample: Sample
    module: nn.Module
    plain: nn.Module
    roles: Mapping[str, Role]

    @property
    def stages(self) -> tuple[str, ...]:
        return self.part.stages()

    def case(
        self,
        *,
        seed: int = 7,
        member: int = 0,
        step: int = 0,
        dtype: torch.dtype = torch.float32,
        dials: Mapping[str, Any] | None = None,
    ) -> Case:
        """Return what the member brings to the step; weights and gradients differ by member and by step."""
        own = torch.Generator().manual_seed(1000 * member + step)

        def near(tensor: Tensor, spread: float) -> Tensor:
            noise = torch.randn(tensor.shape, generator=own, dtype=torch.float64)
            return (tensor.detach().double() + spread * noise).to(dtype)

        params = {name: near(p, 0.4) for name, p in self.module.named_parameters()}
        now = {name: at_step(value, step) for name, value in self.part.dials().items()} | dict(dials or {})
        batch = {"inputs": self.sample.inputs, "targets": self.sample.targets, "weights": self.sample.weights}
        return {
            "dials": {name: torch.as_tensor(value, dtype=torch.float32) for name, value in now.items()},
            "key": key(seed, member, step),
            "lr": torch.tensor(0.1),
            "score": torch.tensor(1.0 + 0.1 * ((step * 5 + member) % 7)),
            "stopped": torch.tensor(False),
            "params": params,
            "grads": {name: near(torch.zeros_like(p), 1.0) for name, p in params.items()},
            "scale": {name: 0.02 + 0.02 * near(torch.zeros_like(p), 1.0).abs() for name, p in params.items()},
            "buffers": {name: b.clone().to(dtype if b.is_floating_point() else b.dtype) for name, b in self._buffers()},
            "batch": cast(copied(batch), dtype),
        }

    def _buffers(self) -> list[tuple[str, Tensor]]:
        own = {f"{path}.{name}" for path, _ in inserted_layers(self.module) for name in ("key", *dials_of(self.part))}
        return [(name, buffer) for name, buffer in self.module.named_buffers() if name not in own]

    def start(self, case: Case) -> dict[str, Any]:
        """Return the part's memory at step 0."""
        return self.part.at(case["dials"]).remember(case["params"])

    def outputs(self, case: Case, params: Mapping[str, Tensor] | None = None, inputs: Any = None) -> Any:
        """Return the outputs of the network with the part's layers, in training mode."""
        layers: dict[str, Tensor] = {}
        for path, _ in inserted_layers(self.module):
            layers[f"{path}.key"] = case["key"]
            layers |= {f"{path}.{name}": torch.as_tensor(value) for name, value in case["dials"].items()}
        weights = dict(case["params"] if params is None else params)
        # Cloned: running statistics are the module's to write, not an input of the part.
        state = weights | copied(case["buffers"]) | layers
        return functional_call(self.module, state, (case["batch"]["inputs"] if inputs is None else inputs,))

    def predictor(self, case: Case) -> nn.Module:
        """Return the network in evaluation mode on the member's weights: what the predict stage receives."""
        network = copy_with(self.module, case["params"]).eval()
        for _, layer in inserted_layers(network):
            layer.key = case["key"]
            for name, value in case["dials"].items():
                setattr(layer, name, torch.as_tensor(value))
        return network

    def plain_outputs(self, case: Case, inputs: Any = None) -> Any:
        """Return the outputs of the network without the part's layers, on the same weights."""
        weights = {name: case["params"][name] for name, _ in self.plain.named_parameters()}
        return functional_call(self.plain, weights, (case["batch"]["inputs"] if inputs is None else inputs,))

    def tasks(self, case: Case) -> dict[str, dict[str, Tensor]]:
        """Return each task's gradient by parameter."""
        batch = Batch(**case["batch"])

        def of(key: str) -> dict[str, Tensor]:
            found: dict[str, Tensor] = grad(lambda p: self.losses(self.outputs(case, p), batch)[key])(case["params"])
            return found

        return {task_of(key): of(key) for key in self.losses(self.outputs(case), batch)}

    def context(self, case: Case, step: int, stage: str) -> Context:
        """Return what the part may look at in the stage."""
        batch = Batch(**case["batch"])

        def loss(params: Mapping[str, Tensor]) -> Tensor:
            return torch.stack([*self.losses(self.outputs(case, params), batch).values()]).sum()

        def again(inputs: Any, draw: int = 0) -> Any:
            with drawing(self.module, draw):
                return self.outputs(case, None, inputs)

        late = stage in ("objective", "gradient", "shrink", "update", "average")
        return Context(
            step=step,
            rng=Rng(case["key"]),
            lr=case["lr"],
            params=case["params"],
            roles=self.roles,
            batch=batch if late else None,
            outputs=self.outputs(case) if stage == "objective" else None,
            recorded=recordings(self.module) if stage == "objective" else {},
            score=case["score"] if stage == "stop" else None,
            scale=case["scale"] if stage == "update" else {},
            columns=self.sample.columns,
            classes=self.sample.classes,
            forward=again,
            loss=lambda outputs, batch: _data_loss(outputs, batch.targets),
            gradient=lambda params: grad(loss)(dict(params)),
            teacher=lambda inputs: self.plain_outputs(case, inputs).detach(),
            tasks=self.tasks(case) if stage == "gradient" and "tasks" in self.part.needs else {},
        ).within(self.part.name)

    def losses(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the data's terms: one, or with several tasks one a task."""
        if not self.sample.tasks:
            return {"data": _data_loss(outputs, batch.targets)}
        each = self.sample.task_targets(batch.targets)
        return {f"data/{task}": _data_loss(outputs, targets) for task, targets in each.items()}

    def value(self, case: Case, stage: str) -> Any:
        """Return what the stage receives."""
        if stage == "objective":
            return self.losses(self.outputs(case), Batch(**case["batch"]))
        made: dict[str, Callable[[], Any]] = {
            "network": lambda: self.plain_outputs(case),
            "predict": lambda: self.predictor(case)(case["batch"]["inputs"]),
            "batch": lambda: Batch(**case["batch"]),
            "gradient": lambda: case["grads"],
            "stop": lambda: case["stopped"],
        }
        return made.get(stage, lambda: case["params"])()

    def run(self, stage: str, case: Case, memory: Any, step: int = 0, numbers: bool = False) -> tuple[Any, Any]:
        """Return (value, memory) after one stage; network and predict give outputs. `numbers`: dials as set."""
        part = self.part if numbers else self.part.at(case["dials"])
        if stage == "network":
            return self.outputs(case), memory
        ctx = self.context(case, step, stage)
        if stage == "predict":
            predictor = part.predict(self.predictor(case), dataclasses.replace(ctx, memory=memory))
            return predictor(case["batch"]["inputs"]), memory
        return getattr(part, stage)(self.value(case, stage), memory, ctx)  # type: ignore[no-any-return]  # the stage's shape

    def once(self, case: Case, memory: Any, step: int = 0, numbers: bool = False) -> dict[str, Any]:
        """Return {"values": by stage and path, "memory": ...} after all stages of one step, in order."""
        values: dict[str, Any] = {}
        for stage in self.stages:
            values[stage], memory = self.run(stage, case, memory, step, numbers)
        return {"values": tensors(values), "memory": memory}


def _data_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return -(targets * outputs.log_softmax(-1)).sum(-1).mean()


def trial_of(part: Regularizer, sample: Sample) -> Trial:
    """Return the part on trial; the global generator that initial weights come from is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        plain = sample.module()
        torch.manual_seed(3)
        module = part.network(sample.module()) if "network" in part.stages() else plain
    return Trial(part, sample, module.train(), plain.train(), roles_of(module))
