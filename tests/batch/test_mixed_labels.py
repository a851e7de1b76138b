"""Images mixed together with every kind of label: what a row takes from its partner, its label takes too."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from poise import CutMix, Mixup, MixupOrCutMix, Recipe
from poise.core.context import Batch, Context
from poise.core.errors import PoiseWarning
from poise.core.kinds import Transform
from poise.core.rng import Rng, key

pytestmark = pytest.mark.usefixtures("seeded")

PARTS: list[Transform] = [Mixup(1.0), CutMix(0.8), MixupOrCutMix(mixup_alpha=1.0)]
ROWS = 7
LABELS = {
    "index": (torch.arange(ROWS) % 3, 3),
    "one-hot": (torch.eye(3)[torch.arange(ROWS) % 3], 3),
    "soft": (torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(2)).softmax(-1), 3),
    "several": ((torch.arange(ROWS * 3).reshape(ROWS, 3) % 2).float(), None),
    "number": (torch.linspace(-3, 50, ROWS), None),
    "numbers": (torch.arange(ROWS * 2.0).reshape(ROWS, 2), None),
}
SHAPES = [(torch.uint8, (3, 8, 13)), (torch.float32, (1, 13, 8)), (torch.float16, (3, 5, 5))]


def taken_of(part: Transform, draw: tuple[Tensor, ...], pixels: int) -> tuple[Tensor, Tensor]:
    """Each row's partner, and the share that is taken from it."""
    if isinstance(part, Mixup):
        return draw[0], draw[1].double()
    box = draw[-1].double()
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) / pixels
    return draw[0], area if isinstance(part, CutMix) else torch.where(draw[1] > 0, draw[1].double(), area)


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize(("dtype", "shape"), SHAPES, ids=lambda value: str(value).removeprefix("torch."))
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_labels_and_weights_take_the_pictures_share(
    part: Transform, labels: str, dtype: torch.dtype, shape: tuple[int, ...], weighted: bool
) -> None:
    levels = torch.randint(0, 256, (ROWS, *shape), dtype=torch.uint8)
    images = levels if dtype == torch.uint8 else (levels / 255).to(dtype)
    targets, classes = LABELS[labels]
    weights = torch.rand(ROWS) if weighted else None
    before = images.clone(), targets.clone()
    run = Recipe(part).start(nn.Linear(2, 3), seed=4, classes=classes)
    with pytest.warns(PoiseWarning, match="mixed or smoothed already") if labels == "soft" else nullcontext():
        x, y, *rest = run.batch(images, targets, *([] if weights is None else [weights]))
    ctx = Context(0, Rng(key(4)), classes=classes).within(part.name)
    partner, taken = taken_of(part, part.draw(ctx.rng, Batch(images, targets.float()), ctx), shape[1] * shape[2])
    whole = torch.eye(3)[targets] if labels == "index" else targets

    def mixed(values: Tensor) -> Tensor:
        share = taken.reshape(-1, *[1] * (values.dim() - 1))
        return (1 - share) * values.double() + share * values[partner].double()

    torch.testing.assert_close(y.double(), mixed(whole), atol=1e-6, rtol=1e-6)
    if weights is not None:
        torch.testing.assert_close(rest[0].double(), mixed(weights), atol=1e-6, rtol=1e-6)
    assert 0 < float(taken.max()) <= 1
    assert (x.dtype, x.shape) == (dtype, images.shape)
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])
