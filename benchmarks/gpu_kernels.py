"""What `torch.compile` makes for a GPU of the functions that poise gives it, looked at where there is no GPU.

Inductor writes Triton programs for them (`poise/kernels/compiled.py`). Here it is asked for these, for sizes that may
change; Triton's interpreter runs them on the CPU, and what they give is held against the plain functions. Then Triton
translates them for a GPU of compute capability 9.0 (H100, H200). How many programs a call runs is how many launches it
costs. How fast they are, only a GPU can tell: `benchmarks/gpu.py`.

    pip install triton==3.7.1                   # no dependency: torch's builds for CPUs come without
    python -m benchmarks.gpu_kernels
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported

import torch
from torch import Tensor
from torch._inductor import config
from torch._inductor.async_compile import AsyncCompile

from poise.core.philox import _rounds
from poise.train.optimizers import _adam

try:
    import triton
except ImportError:
    sys.exit("This needs Triton, which torch's builds for CPUs come without: pip install triton==3.7.1")

BLOCK = 256
CAPABILITY = 90
SIZES = ((6, 5), (1, 1), (33, 260), (256, 1031))  # the first is compiled for; its program must serve the others, too
Function = Callable[..., Any]


class Program:
    """One Triton program of inductor's. `run` is what inductor's text calls: here it asks the interpreter."""

    def __init__(self, name: str, source: str, folder: Path) -> None:
        self.name, self.source, self.runs = name, source, 0
        # Triton reads the text of a function again from its file. The heuristics around it would ask for a driver.
        bare = re.sub(r"^@triton_heuristics\.\w+\(.*?^\)\n", "", source, flags=re.DOTALL | re.MULTILINE)
        path = folder / f"{len(list(folder.iterdir()))}.py"  # a program made for other sizes may have the same name
        path.write_text(bare.replace("triton_helpers.set_driver_to_cpu()", ""), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.function = getattr(module, name)

    def run(self, *arguments: Any, stream: object) -> None:
        self.runs += 1
        self.function[(-(-arguments[-1] // BLOCK),)](*arguments, XBLOCK=BLOCK)

    def translated(self) -> dict[str, Any]:
        """Return what Triton's compiler makes of it for a GPU: its stages' texts, the last one the machine's code."""
        told = dict(re.findall(r"'(signature|constants)': (\{.*?\})", self.source))
        signature, fixed = eval(told["signature"]), eval(told["constants"])
        plain = triton.runtime.jit.JITFunction(self.function.fn)
        made = triton.compiler.ASTSource(plain, signature, fixed | {"XBLOCK": BLOCK})
        target = triton.backends.compiler.GPUTarget("cuda", CAPABILITY, 32)
        return dict(triton.compile(made, target=target).asm)


@contextmanager
def written(programs: list[Program]) -> Iterator[None]:
    """While this lasts, inductor writes Triton programs for CPU tensors, too: into the list, to be interpreted."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def kept(_: AsyncCompile, name: str, source: str, *__: object, **___: object) -> Program:
            programs.append(Program(name, source, folder))
            return programs[-1]

        stack.enter_context(config.patch(cpu_backend="triton", force_disable_caches=True, compile_threads=1))
        for name in ("torch.utils._triton.has_triton", "torch._inductor.scheduler.has_triton"):
            stack.enter_context(mock.patch(name, return_value=True))
        stack.enter_context(mock.patch("torch.utils._triton.triton_hash_with_backend", return_value=""))
        stack.enter_context(mock.patch.object(AsyncCompile, "triton", kept))
        torch._dynamo.reset()
        yield


def words(members: int, blocks: int) -> tuple[Tensor, ...]:
    """Return places (1, blocks) and keys and counters (members, 1) of the generator."""
    low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    return torch.arange(1, blocks + 1)[None], *(torch.randint(low, high, (members, 1)) for _ in range(4))


def moments(members: int, weights: int) -> tuple[Tensor, ...]:
    """Return weights, gradients and both moments (members, weights) of Adam, and rates and corrections (members, 1)."""
    weight, grad, mean, square = torch.randn(4, members, weights)
    rate, corrected = torch.rand(2, members, 1) + 0.1
    return weight, grad, mean, square.square(), 0.01 * rate, corrected


def difference(function: Function, found: Function, arguments: tuple[Tensor, ...]) -> float:
    """Return the largest difference of what both return and leave in their arguments, over a tensor's mean size."""
    ours, plain = ([one.clone() for one in arguments] for _ in range(2))
    ours.append(found(*ours))
    plain.append(function(*plain))
    pairs = [(a, b) for a, b in zip(ours, plain, strict=True) if a is not None]
    if all(torch.equal(a, b) for a, b in pairs):
        return 0.0
    return max(float((a - b).abs().max() / b.abs().mean()) for a, b in pairs)


def main() -> None:
    """Print a line for each function: its launches, its differences, the machine's code."""
    torch.manual_seed(0)
    asked: tuple[tuple[str, Any, Function], ...] = (
        ("words of the generator", _rounds, words),
        ("update of Adam", _adam(0.9, 0.999, 1e-8), moments),
    )
    print(f"torch {torch.__version__}, triton {triton.__version__}, interpreted; sizes {SIZES}")
    for title, compiled, draw in asked:
        plain, programs = compiled.__wrapped__, list[Program]()
        with written(programs):
            made = torch.compile(plain, dynamic=True, fullgraph=True)
            launches, worst = set[int](), 0.0
            for size in SIZES:
                before = sum(program.runs for program in programs)
                worst = max(worst, difference(plain, made, draw(*size)))
                launches.add(sum(program.runs for program in programs) - before)
            code = [len(program.translated()["cubin"]) for program in programs]
        told = f"{sorted(launches)} launches a call, largest difference {worst:.1e}"
        print(f"{title:>22}: {told}; bytes for sm_{CAPABILITY}: {code}")


if __name__ == "__main__":
    main()
