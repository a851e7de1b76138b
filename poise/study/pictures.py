"""Training pictures as the recipe shows them to the network: each one as it is, and several draws of it."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import torch
from torch import nn

from poise.core.recipe import Recipe
from poise.study.prepare import Prepared
from poise.study.result import Picture

__all__ = ["pictures_of", "png"]

_ROWS, _DRAWS = 6, 6


def pictures_of(ready: Prepared, recipe: Recipe, seed: int) -> tuple[Picture, ...]:
    """Return one training picture of each of up to six classes with six draws of the recipe's batch stage.

    Empty if the rows are no pictures of classes, or the recipe leaves them as they are.
    """
    inputs, targets = ready.problem.rows.inputs, ready.problem.rows.targets
    if not (ready.problem.design.pictures and ready.problem.heads[0].classes and recipe.stage("batch")):
        return ()
    codes = targets.argmax(1)
    # The first row of each class: which ones they are must not depend on what they look like.
    rows = torch.stack([torch.nonzero(codes == code).flatten()[0] for code in codes.unique()[:_ROWS]])
    shown = Recipe(*recipe.stage("batch"))
    run = shown.start(nn.Linear(1, 1), seed=seed, classes=targets.shape[1])
    drawn = [inputs[rows]]
    for _ in range(_DRAWS):
        edited, _targets = run.batch(inputs[rows], codes[rows])
        drawn.append(edited)
        run.draws += 1
    labels = ready.targets[0].labels
    strips = torch.stack(drawn, 1)  # (rows, 1 + draws, C, H, W)
    return tuple(
        Picture(str(labels[int(codes[row])]), png(strip.clamp(0, 1)), len(strip))
        for row, strip in zip(rows, strips, strict=True)
    )


def png(strip: torch.Tensor) -> str:
    """Return pictures side by side as base64 of a PNG file. Shapes: (n, C, H, W) in [0, 1], C is 1 or 3."""
    pixels = (strip * 255).round().byte().numpy()
    count, channels, height, width = pixels.shape
    rows = pixels.transpose(2, 0, 3, 1).reshape(height, count * width * channels)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()  # filter 0 before each row

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", count * width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + data).decode("ascii")
