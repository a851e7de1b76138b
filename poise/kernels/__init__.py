"""The native tier: small kernels in plain C, each with an eager twin in torch that gives the same result.

Built at install where a C compiler is found (`setup.py`); `available()` tells. A kernel is a C file here and a Python
face of the same name, which takes CPU tensors; the eager twin stands with the caller, and runs everywhere else.
"""

from poise.kernels.library import available, native

__all__ = ["available", "native"]
