"""The classic curves as numbers: training loss falls on, validation loss turns; patience keeps the best weights."""

import torch
from torch import nn
from torch.nn import functional as F

from poise import Patience, Recipe

own = torch.Generator().manual_seed(0)
X = torch.randn(400, 10, generator=own)
y = X[:, :2].prod(1, keepdim=True) + 0.5 * torch.randn(400, 1, generator=own)  # 0.25 is the noise: nobody can do better
train, valid, test = torch.arange(100), torch.arange(100, 250), torch.arange(250, 400)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 1))
run = Recipe(Patience(evaluations=15)).start(model, seed=0)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)


def loss(predict: nn.Module, rows: torch.Tensor) -> float:
    with torch.no_grad():
        return float(F.mse_loss(predict(X[rows]), y[rows]))


print("step  train  validation")
stopped_at = None
for step in range(1, 601):
    run.objective(F.mse_loss(run.model(X[train]), y[train])).backward()
    run.update(optimizer)
    if step % 10 == 0:
        with run.evaluation() as network:
            on_train, on_valid = loss(network, train), loss(network, valid)
        if run.stop(on_valid) and stopped_at is None:
            stopped_at = step  # a real loop would `break` here; this one goes on to show the curve
        if step in (10, 30, 60, 110, 200, 400, 600):
            print(f"{step:4d}  {on_train:5.2f}  {on_valid:10.2f}")

best = int(run.memory["patience"]["best_step"])
print(f"patience stops at step {stopped_at} and keeps step {best}")
print(f"test loss: {loss(run.predictor(), test):.2f} with the kept weights, {loss(model, test):.2f} with the last ones")
