"""Builds the native tier, `poise/kernels`, where there is a C compiler; without one, poise runs without it."""

import runpy
import sys
from pathlib import Path

from setuptools import Extension, setup

SOURCES = sorted(path.as_posix() for path in Path("poise/kernels").glob("*.c"))
HEADERS = sorted(path.as_posix() for path in Path("poise/kernels").glob("*.h"))

# No -march: a wheel must run on any machine of its kind; `native.h` compiles the hot functions for several.
# No -ffast-math, and fused multiply-adds only where asked for: a sum must not depend on where it stands.
FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]

NUMBER = runpy.run_path("poise/kernels/library.py")["source_number"](Path("poise/kernels"))

native = Extension(
    "poise.kernels._native",
    sources=SOURCES,
    depends=HEADERS,
    define_macros=[("POISE_INTERFACE", f"{NUMBER}LL")],
    extra_compile_args=[] if sys.platform == "win32" else FLAGS,
    libraries=[] if sys.platform == "win32" else ["m"],
    optional=True,  # no compiler, no harm: the eager twins take over
)

setup(ext_modules=[native])
