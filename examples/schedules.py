"""Dials that move with the step: regularization that comes late, fades out, or is switched off for the last steps."""

import torch
from torch import nn
from torch.nn import functional as F

from poise import L2, Cosine, Dropout, InputNoise, Recipe, SwitchOff, WarmUp

STEPS = 40
recipe = Recipe(
    Dropout(Cosine(0.4, 0.0, steps=STEPS)),
    InputNoise(SwitchOff(0.2, steps=30)),
    L2(WarmUp(0.01, steps=20)),
)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))
run = recipe.start(model, seed=0)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
X, y = torch.randn(64, 5), torch.randn(64, 1)

print("step  dropout  noise  l2.weight  l2 term")
for step in range(STEPS):
    if step % 10 == 0 or step == STEPS - 1:
        now = recipe.resolve({}, step).dials()
    inputs, targets = run.batch(X, y)
    run.objective(F.mse_loss(run.model(inputs), targets)).backward()
    if step % 10 == 0 or step == STEPS - 1:
        p, noise, weight = (float(now[name]) for name in ("dropout.p", "input_noise.scale", "l2.weight"))
        print(f"{step:4d}  {p:7.3f}  {noise:5.2f}  {weight:9.4f}  {float(run.terms['l2']):7.4f}")
    run.update(optimizer)

print(recipe.to_yaml())
assert Recipe.from_yaml(recipe.to_yaml()) == recipe  # schedules survive the file
