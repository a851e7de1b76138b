"""A pretended accelerator: tensors that lie on another device, with their values in the CPU's memory.

What runs on it shows that code moves what it must to a device and back, and computes the same there: an operation on
tensors of two devices raises, as does NumPy's view of one. It shows nothing of a real device's speed or rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from poise.testing.operations import recording

__all__ = ["PRETENDED", "pretended"]

PRETENDED = "lazy:0"
"""The device's name: one that every build of torch knows, and that nothing here makes tensors on."""

_COPIES = ("aten::_to_copy", "aten::copy_")  # have tensors of both
_READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")  # their answer, or its size, is awaited
_BY_PLACES = ("aten::index", "aten::index_put_")  # may have places of the CPU


class _There(Tensor):
    """A tensor on the device; `held` has its values."""

    held: Tensor
    _is_param: bool

    @staticmethod
    def __new__(cls, held: Tensor) -> _There:
        there: Any = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=torch.device(PRETENDED), requires_grad=held.requires_grad,
        )  # fmt: skip
        there.held = held
        return there  # type: ignore[no-any-return]  # of this class, which torch's stubs do not say

    def tolist(self) -> Any:
        assert recording() is None, "a value is read while a graph is recorded"
        return self.held.tolist()

    def __deepcopy__(self, memo: Any) -> _There:
        copied = _There(self.held.detach().clone())
        copied.requires_grad_(self.requires_grad)
        if hasattr(self, "_is_param"):
            copied._is_param = self._is_param  # what makes it a Parameter
        return copied

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]  # its stub has no func
        return _run(func, args, dict(kwargs or {}))


class _Made(TorchDispatchMode):
    """Sees what makes a tensor on the device, of none that is there yet."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, dict(kwargs or {}))


class _FromNumbers(TorchFunctionMode):
    """Makes tensors of numbers on the CPU and moves them: torch would ask the device itself for memory."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        numbers = func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor)
        if numbers and named.get("device") is not None:
            return func(*args, **named | {"device": "cpu"}).to(named["device"])
        if func in (Tensor.__getitem__, Tensor.__setitem__) and args[0].device == torch.device(PRETENDED):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = tuple(torch.tensor(place) if isinstance(place, list) else place for place in places)
            args = (args[0], places, *args[2:])
        return func(*args, **named)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the values; what it returns is on the device if its tensors are, or it is asked to be."""
    given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = any(isinstance(tensor, _There) for tensor in given)
    name, asked = func._schema.name, kwargs.get("device")
    between = name in _COPIES or (name in _BY_PLACES and isinstance(args[0], _There))
    if there and not between and any(tensor.dim() and not isinstance(tensor, _There) for tensor in given):
        raise RuntimeError(f"{func}: expected all tensors to be on one device; got {[str(t.device) for t in given]}")
    values, named = pytree.tree_map_only(_There, lambda tensor: tensor.held, (args, kwargs))
    if asked is not None:
        named = named | {"device": torch.device("cpu")}
    if asked is not None:
        stays = torch.device(asked).type == torch.device(PRETENDED).type
    else:
        stays = isinstance(args[0], _There) if name in _COPIES else there
    graph = recording()
    if graph is None or not (there or stays):
        found = func(*values, **named)
    else:
        found = graph.run(func, values, named, waits=_waits(name, args, given, asked))
    if not stays:
        return found
    found = pytree.tree_map_only(Tensor, _There, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if there else found


def _waits(name: str, args: Any, given: Sequence[Tensor], asked: Any) -> bool:
    """Whether the host waits: for a value, for how many there are, or for tensors that go from device to device."""
    if name in _BY_PLACES and any(place is not None and place.dtype == torch.bool for place in args[1]):
        return True  # it counts them first
    kinds = {tensor.device.type for tensor in given} | ({torch.device(asked).type} if asked is not None else set())
    return name in _READS or (name in (*_COPIES, *_BY_PLACES) and len(kinds) > 1)


@contextmanager
def pretended() -> Iterator[str]:
    """Let tensors be made on, moved to and from the device inside.

    >>> with pretended() as device:
    ...     x = torch.ones(2, device=device)
    ...     x.device, (x + x).cpu()
    (device(type='lazy', index=0), tensor([2., 2.]))
    """
    with _Made(), _FromNumbers():  # type: ignore[no-untyped-call]  # torch has no types for its modes
        yield PRETENDED
