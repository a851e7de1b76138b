"""Affine: Pillow's rotation, the slow composition of its matrices, and the laws of its draws."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from poise.batch import Affine
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.testing.oracles import kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")

CTX = Context(0, Rng(key(0)))


def drawn(part: Affine, rows: int, height: int = 10, width: int = 20) -> torch.Tensor:
    return part.draw(CTX.rng, Batch(torch.zeros(rows, 1, height, width), torch.zeros(rows)), CTX)


def forward(maps: torch.Tensor) -> torch.Tensor:
    """The movement seen: the inverse of the maps from the result, (B, 3, 3)."""
    last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(len(maps), 1, 3)
    return torch.linalg.inv(torch.cat([maps.double(), last], 1))


def test_a_rotation_is_pillows_to_one_level_of_a_byte() -> None:
    """Pillow interpolates in fixed point; it turns counterclockwise too, and blanks what comes from beyond."""
    levels = torch.randint(0, 256, (24, 24), dtype=torch.uint8)
    for angle in (-137.0, -20.0, 5.0, 30.0, 90.0):
        part = Affine(180.0, 0.0, 0.0, 0.0)
        turned = math.radians(angle)
        maps = torch.tensor(
            [[[math.cos(turned), -math.sin(turned), 0.0], [math.sin(turned), math.cos(turned), 0.0]]],
            dtype=torch.float64,
        )
        found = part.edit(levels.double()[None, None], maps)[0, 0]
        pillow = Image.fromarray(levels.numpy()).rotate(angle, Image.Resampling.BILINEAR)
        expected = torch.from_numpy(np.array(pillow)).double()
        inside = (
            torch.hypot(*torch.meshgrid(*[torch.arange(24.0) - 11.5] * 2, indexing="ij")) < 11
        )  # border rules differ
        assert float((found - expected).abs()[inside].max()) <= 1.01


def test_maps_are_the_inverse_of_rotation_times_shear_times_factor_plus_shift() -> None:
    part = Affine(40.0, 0.3, 0.5, 20.0)
    found = forward(drawn(part, 500))
    # Recovered from the matrix by a QR decomposition, as the definition composes it.
    factor = found[:, :2, 0].norm(dim=1)
    angle = torch.atan2(-found[:, 1, 0], found[:, 0, 0])
    cosine, sine = angle.cos(), angle.sin()
    turned = torch.stack([torch.stack([cosine, sine], -1), torch.stack([-sine, cosine], -1)], -2)
    rest = turned.transpose(1, 2) @ found[:, :2, :2] / factor[:, None, None]
    slope = rest[:, 0, 1]
    expected = torch.zeros(500, 2, 2, dtype=torch.float64)
    expected[:, 0, 0] = expected[:, 1, 1] = 1
    expected[:, 0, 1] = slope
    torch.testing.assert_close(rest, expected, rtol=0, atol=1e-6)
    assert float(angle.abs().max()) <= math.radians(40) + 1e-6
    assert float(slope.abs().max()) <= math.tan(math.radians(20)) + 1e-6
    assert float(factor.max()) <= 1.5 + 1e-6
    assert float(factor.min()) >= 1 / 1.5 - 1e-6
    assert float(found[:, 0, 2].abs().max()) <= 0.3 * 20 + 1e-6
    assert float(found[:, 1, 2].abs().max()) <= 0.3 * 10 + 1e-6


def test_each_dial_alone_has_its_law_and_a_wrong_law_is_caught() -> None:
    rows = 5000
    angle = forward(drawn(Affine(30.0, 0.0, 0.0, 0.0), rows))
    turned = torch.atan2(-angle[:, 1, 0], angle[:, 0, 0]) / math.radians(30)
    factor = forward(drawn(Affine(0.0, 0.0, 1.0, 0.0), rows))[:, 0, 0]
    shift = forward(drawn(Affine(0.0, 0.25, 0.0, 0.0), rows))[:, :2, 2] / torch.tensor([5.0, 2.5])
    sheared = forward(drawn(Affine(0.0, 0.0, 0.0, 45.0), rows))[:, 0, 1].atan() / math.radians(45)
    for uniform in (turned, factor.log2(), shift[:, 0], shift[:, 1], sheared):
        assert kolmogorov((uniform + 1) / 2) > 1e-6
    assert kolmogorov(((factor - 0.5) / 1.5).clamp(0, 1)) < 1e-6  # uniform factors would enlarge too often


def test_neutral_dials_give_the_identity_map_exactly() -> None:
    part = Affine(0.0, 0.0, 0.0, 0.0)
    assert bool((drawn(part, 7) == torch.eye(2, 3)).all())


def test_a_shift_moves_to_the_right_and_down() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1
    maps = torch.tensor([[[1.0, 0.0, -1.0], [0.0, 1.0, -2.0]]])  # what is shown lies left of and above the place
    moved = Affine().edit(image, maps)
    assert moved[0, 0, 4, 3] == pytest.approx(1, abs=1e-6)


def test_another_padding_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`Affine.padding` must be one of zero, edge, reflect, symmetric; got 3"):
        Affine(padding=3)  # type: ignore[arg-type]
