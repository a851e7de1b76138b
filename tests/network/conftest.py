"""What the tests of inserted layers share: running a module as a population, one state for each member."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

Population = Callable[..., tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]]


@pytest.fixture
def population() -> Population:
    """Run (module, inputs (M, ...), dials) under vmap of grad: outputs, parameter gradients, buffers after the pass."""

    def run(module: nn.Module, inputs: Tensor, **dials: Tensor) -> tuple[Any, Any, Any]:
        members = inputs.shape[0]
        params = {k: torch.stack([v.detach()] * members) for k, v in module.named_parameters()}
        buffers = {k: torch.stack([v] * members) for k, v in module.named_buffers()}
        for name, buffer in buffers.items():
            if name.endswith("key"):
                buffer[:, 1] = torch.arange(members)
            for dial, value in dials.items():
                if name.endswith(f".{dial}") or name == dial:
                    buffer.copy_(value)

        def loss(params: Any, buffers: Any, x: Tensor) -> Any:
            out = functional_call(module, (params, buffers), (x,))
            return out.square().sum(), out

        grads, outputs = vmap(grad(loss, has_aux=True))(params, buffers, inputs)
        return outputs, grads, buffers

    return run


@pytest.fixture
def described() -> Callable[[nn.Module], list[Any]]:
    """Return everything a module is made of, hooks and plain attributes included, but for its tensors' values."""

    def describe(model: nn.Module) -> list[Any]:
        rows: list[Any] = []
        for path, one in model.named_modules():
            rows += [path, type(one), sorted(one.__dict__)]
            rows += [list(one._modules), list(one._parameters), list(one._buffers)]
            rows += [list(hooks.values()) for name, hooks in sorted(one.__dict__.items()) if "_hooks" in name and hooks]
        return rows

    return describe
