"""Functions that `torch.compile` makes for a GPU, tried on the CPU: the same answers, or a warning and the same."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from poise.core.philox import philox, seeds_of
from poise.core.rng import key, keyed_words
from poise.kernels import compiled as module
from poise.kernels import native
from poise.kernels.compiled import compiled
from poise.train.optimizers import Adam, Flat

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch._dynamo's own imports
SHAPES = [(5, 7), (300, 33), (2, 1000), (1, 9), (1, 3), (7, 2), (16, 2048)]  # keys, words


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Gives a CPU's tensors to compiled functions, as a GPU's are."""
    monkeypatch.setattr(module, "_KINDS", {"cpu"})
    monkeypatch.setattr(module, "_trusted", {})
    torch._dynamo.reset()
    module._made.cache_clear()
    yield monkeypatch
    torch._dynamo.reset()
    module._made.cache_clear()


def words(keys: int, count: int) -> tuple[Tensor, Tensor]:
    """Return words by operations of torch, and those that they must be."""
    own = torch.stack([key(3, member, 5) for member in range(keys)])
    first, second = seeds_of(own, 77)
    return philox(first, second, count, epoch=own[:, 2], row=torch.zeros_like(first)), keyed_words(own, 77, count)


def adam_both_ways(steps: int = 4) -> tuple[Flat, Flat]:
    """Return weights after steps of all members at once, compiled and not."""
    torch.manual_seed(0)
    params, grads = {"w": torch.randn(3, 4, 5)}, [torch.randn(3, 20) for _ in range(steps)]
    lr, found = torch.tensor([1e-3, 3e-2, 0.5], dtype=torch.float64), []
    for on in (True, False):
        with native(on):
            weights, adam = Flat.of({name: tensor.clone() for name, tensor in params.items()}), Adam()
            state = adam.start(weights)
            for done, grad in enumerate(grads):
                adam._step_at_once(weights.data, grad, state, lr, done)
            found.append(weights)
    return found[0], found[1]


def test_both_functions_are_one_graph_each_of_any_sizes(on_cpu: pytest.MonkeyPatch) -> None:
    on_cpu.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # all but the machine's code
    for shape in SHAPES:
        ours, theirs = words(*shape)
        assert torch.equal(ours, theirs)
    one, other = adam_both_ways()
    torch.testing.assert_close(one.data, other.data, rtol=1e-6, atol=1e-7)
    assert module._trusted == {"poise.core.philox._rounds": True, "poise.train.optimizers._adam.<locals>.update": True}


@pytest.mark.campaign
@pytest.mark.parametrize("wraps", [True, False])
def test_compiled_by_a_c_compiler(wraps: bool, on_cpu: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a sum of signed numbers need not wrap, gcc makes other words: that is seen, and the plain way is gone."""
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/sh\nexec g++ {"-fwrapv" if wraps else ""} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    on_cpu.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with warnings.catch_warnings(record=True) as seen, torch._inductor.config.patch("cpp.cxx", (None, str(script))):
        warnings.simplefilter("always", RuntimeWarning)
        for shape in SHAPES[:3]:
            ours, theirs = words(*shape)
            assert torch.equal(ours, theirs)
        one, other = adam_both_ways()
    torch.testing.assert_close(one.data, other.data, rtol=1e-6, atol=1e-7)
    trusted = module._trusted["poise.core.philox._rounds"]
    assert trusted or not wraps
    assert len([one for one in seen if "torch.compile could not" in str(one.message)]) == (0 if trusted else 1)


def twice(x: Tensor) -> Tensor:
    return 2 * x


def test_a_compiler_that_fails_is_told_of_once(on_cpu: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        def call(*_: Tensor) -> Tensor:
            raise torch._dynamo.exc.BackendCompilerFailed("inductor", RuntimeError("no compiler here"), None)

        return call

    on_cpu.setattr(torch, "compile", broken)
    function = compiled(twice)
    with pytest.warns(RuntimeWarning, match="could not make.*twice.*no compiler here"):
        assert function(torch.tensor([1.0])).tolist() == [2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert function(torch.tensor([3.0])).tolist() == [6]


def test_whole_numbers_that_differ_are_not_taken(on_cpu: pytest.MonkeyPatch) -> None:
    on_cpu.setattr(torch, "compile", lambda function, **_: lambda x: function(x) + 1)
    function = compiled(twice)
    with pytest.warns(RuntimeWarning, match="its numbers are not the plain function's"):
        assert function(torch.tensor([1])).tolist() == [2]
    assert function(torch.tensor([5])).tolist() == [10]


def test_errors_of_the_function_itself_are_raised(on_cpu: pytest.MonkeyPatch) -> None:
    on_cpu.setattr(torch, "compile", lambda function, **_: function)
    with pytest.raises(RuntimeError, match="size"):
        compiled(lambda x, y: x + y)(torch.ones(2), torch.ones(3))


def test_it_stays_plain_on_a_cpu_and_where_kernels_are_left_aside(on_cpu: pytest.MonkeyPatch) -> None:
    on_cpu.setattr(torch, "compile", lambda function, **_: lambda x: function(x) + 0.5)
    function = compiled(twice)
    assert function(torch.tensor([1.0])).tolist() == [2.5]
    with native(False):
        assert function(torch.tensor([1.0])).tolist() == [2]
    on_cpu.setattr(module, "_KINDS", {"cuda"})
    assert function(torch.tensor([1.0])).tolist() == [2]
