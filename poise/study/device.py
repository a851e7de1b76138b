"""Where a study's networks train."""

from __future__ import annotations

import re

import torch

from poise.core.errors import ArgumentError, counted, shown

__all__ = ["device_of"]


def device_of(argument: str, device: object) -> str:
    """Return the torch device that an argument names: "auto" is the CPU.

    Populations were made fast on CPUs, and never timed on a GPU: so "auto" does not choose one.

    Raises: ArgumentError if it is no device, or one that torch does not see.
    """
    if device in ("auto", "cpu"):
        return "cpu"
    shape = re.fullmatch(r"cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if shape is None:
        raise ArgumentError(f'`{argument}` must be "auto", "cpu", "cuda" or "cuda:1"; got {shown(device)}.')
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(shape[1] or 0) >= count:
        seen = counted(count, "GPU")
        raise ArgumentError(
            f"`{argument}` must be a GPU that torch sees; got {shown(device)}, and torch {torch.__version__} "
            f'sees {seen}. Take "cpu", or install a build of torch for your GPU.'
        )
    return str(device)
