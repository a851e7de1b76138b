"""Digits of which 30 have a label; the others only say whether they have loops and are odd: alone against together."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from poise import MultiTask, PcGrad, Recipe, TaskLosses, UncertaintyWeights

X, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
X = X.float() / 8 - 1
coin = torch.randint(0, 2, y.shape, generator=torch.Generator().manual_seed(0))
LABELS = {"digit": y, "loops": torch.tensor([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])[y], "odd": y % 2, "coin": coin}
WIDTHS = {"digit": 10, "loops": 3, "odd": 2, "coin": 2}
TOGETHER = ("digit", "loops", "odd")


def fit(tasks: tuple[str, ...], recipe: Recipe, seed: int) -> float:
    """Train on 800 rows, of which the first 30 have a digit; return the accuracy of the digit on the test rows."""
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    train, test = order[:800], order[1000:]
    known = {task: LABELS[task].clone() for task in tasks}
    known["digit"][train[30:]] = -1  # missing: these rows add nothing to the digit's loss
    rows = train if len(tasks) > 1 else train[:30]
    losses = TaskLosses(dict.fromkeys(tasks, "classes"))
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    model = MultiTask(trunk, {task: nn.Linear(64, WIDTHS[task]) for task in tasks})
    run = recipe.start(model, seed=seed)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(150):
        some = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(step))[:200]]
        inputs, targets = run.batch(X[some], {task: labels[some] for task, labels in known.items()})
        run.objective(losses(run.model(inputs), targets)).backward()
        run.update(optimizer)
    with run.evaluation() as network, torch.no_grad():
        return float((network(X[test])["digit"].argmax(1) == y[test]).float().mean())


for name, tasks, recipe in (
    ("digit alone", ("digit",), Recipe()),
    ("with loops and odd", TOGETHER, Recipe()),
    ("... and uncertainty weights", TOGETHER, Recipe(UncertaintyWeights(tasks=TOGETHER))),
    ("... and gradient surgery", TOGETHER, Recipe(PcGrad())),
    ("with a coin's side", ("digit", "coin"), Recipe()),
):
    scores = torch.tensor([fit(tasks, recipe, seed) for seed in range(4)])
    print(f"{name:28} accuracy {scores.mean():.3f}, from {scores.min():.3f} to {scores.max():.3f}")
