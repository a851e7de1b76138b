"""Image augmentation in a population: each member its own strengths and draws, and equal to the member alone."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import (
    Affine,
    ArgumentError,
    AugMix,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    Flip,
    ManifoldMixup,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    Recipe,
    TrivialAugment,
)
from poise.core.context import Batch
from poise.train.losses import CrossEntropy
from poise.train.optimizers import Sgd
from poise.train.population import Population, Rows
from poise.train.step import step

pytestmark = pytest.mark.usefixtures("seeded")

STRENGTHS = {
    "crop.pixels": torch.tensor([0.0, 3.0, 1.0]),
    "cutout.side": torch.tensor([0.5, 0.3, 0.0]),
    "flip.horizontal": torch.tensor([0.0, 0.5, 1.0]),
}
RECIPES = {
    "usual": Recipe(Flip(), Crop(), Cutout(), ColorJitter(), CutMix()),
    "geometry": Recipe(Affine(shear=5.0), RandomResizedCrop(), RandomErasing()),
    "policies": Recipe(RandAugment(), TrivialAugment(), ManifoldMixup()),
    "consistency": Recipe(AugMix(width=2, depth=1)),
}


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def images(scale: float = 1.0) -> Rows:
    own = torch.Generator().manual_seed(0)
    return Rows(scale * torch.rand(30, 3, 10, 12, generator=own), torch.eye(3)[torch.arange(30) % 3])


def trained(recipe: Recipe, members: list[int]) -> dict[str, Tensor]:
    names = {part.name for part in recipe}
    dials = {name: own[members] for name, own in STRENGTHS.items() if name.split(".")[0] in names}
    rates = [0.01 * (1 + member) for member in members]
    population = Population(
        network, recipe, CrossEntropy(), lr=rates, members=members, dials=dials, seed=3, classes=3, optimizer=Sgd()
    )
    population.train(images(), steps=4, batch_size=10)
    return population.weights()


@pytest.mark.parametrize("name", RECIPES)
def test_a_member_of_a_population_is_what_it_is_alone(name: str) -> None:
    together, alone = trained(RECIPES[name], [0, 1, 2]), trained(RECIPES[name], [1])
    for place, weights in together.items():
        torch.testing.assert_close(weights[1], alone[place][0], rtol=1e-4, atol=1e-6)


def test_a_member_equals_the_plain_loop() -> None:
    """Also of manifold mixup, whose layers draw in the forward pass what the batch stage drew for the targets."""
    recipe = Recipe(Flip(), Crop(2.0), ManifoldMixup())
    population = Population(network, recipe, CrossEntropy(), lr=[0.1], members=[0], seed=3, classes=3, optimizer=Sgd())
    rows = images()
    model = network()
    model.load_state_dict({name: weights[0].clone() for name, weights in population.weights().items()})
    run = recipe.start(model, seed=3, classes=3)
    optimizer = torch.optim.SGD(run.model.parameters(), 0.1)
    for _ in range(3):
        step(population.program, population.state, Batch(rows.inputs[None], rows.targets[None]))
        x, y = run.batch(rows.inputs, rows.targets)
        out = run.model(x)
        run.objective(F.cross_entropy(out, y), outputs=out).backward()
        run.update(optimizer)
    for name, weights in run.model.state_dict().items():
        torch.testing.assert_close(population.weights()[name][0], weights, rtol=1e-4, atol=1e-6)


def test_a_population_knows_images_by_their_row_and_epoch() -> None:
    """The pictures of a step are those of `run.batch` with the row numbers as ids."""
    recipe, rows, seen = Recipe(Flip(), Crop(2.0), ColorJitter()), images(), []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch._C._functorch.get_unwrapped(x).clone())
            return self.last(x.mean((2, 3)))  # type: ignore[no-any-return]

    population = Population(Watching, recipe, CrossEntropy(), lr=[0.1], members=[0], seed=3, classes=3, optimizer=Sgd())
    population.train(rows, steps=7, batch_size=10)  # the last step begins the third epoch
    assert population.epoch_order is not None
    epoch, order = population.epoch_order
    run = recipe.start(nn.Linear(2, 2), seed=3, classes=3)
    ids = order[0, :10]
    expected, _ = run.batch(rows.inputs[ids], rows.targets[ids], ids=ids, epoch=epoch)
    assert epoch == 2
    assert torch.equal(seen[-1].reshape(expected.shape), expected)


def test_pixels_outside_the_unit_interval_are_refused_here_too() -> None:
    population = Population(network, Recipe(ColorJitter()), CrossEntropy(), lr=[0.1, 0.2], classes=3)
    with pytest.raises(ArgumentError, match=r"`ColorJitter` must have pixels in \[0, 1\]; got .* to 25"):
        population.train(images(255.0), steps=1, batch_size=10)
