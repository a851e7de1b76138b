"""A small convolutional network on 120 digits of 8 x 8 pixels, with and without augmentation: the gap narrows."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from poise import Affine, Cutout, Recipe

X, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
X = X.float().reshape(-1, 1, 8, 8) / 16  # images (rows, channels, height, width) in [0, 1]
order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
train, test = order[:120], order[120:]
torch.set_num_threads(1)  # faster for images as small as these


def network() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(384, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def fit(recipe: Recipe, steps: int = 500) -> nn.Module:
    torch.manual_seed(0)
    run = recipe.start(network(), seed=0, classes=10)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=4e-3, weight_decay=0.0)
    for _ in range(steps):
        rows = train[torch.randint(len(train), (40,))]
        x, targets = run.batch(X[rows], y[rows])
        out = run.model(x)
        run.objective(F.cross_entropy(out, targets), outputs=out).backward()
        run.update(optimizer)
    return run.predictor()


def show(name: str, model: nn.Module) -> None:
    with torch.no_grad():
        accuracy = [float((model(X[rows]).argmax(1) == y[rows]).float().mean()) for rows in (train, test)]
    print(f"{name:<24}{accuracy[0]:.3f}  {accuracy[1]:.3f}  {accuracy[0] - accuracy[1]:.3f}")


print(f"{'':<24}train  test   gap")
show("none", fit(Recipe()))
# No flip: a mirrored digit is another digit, or none.
moved = Affine(rotation=12.0, translation=0.12, scale=0.15, shear=10.0)
show("moved", fit(Recipe(moved)))
show("moved, cutout", fit(Recipe(moved, Cutout(0.3))))
