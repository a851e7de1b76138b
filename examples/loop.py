"""A recipe in a loop of one's own: 150 rows of digits, with and without regularizers, and the gap of both."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from poise import ClipNorm, Decay, Dropout, Ema, MaxNorm, Mixup, Patience, Recipe

X, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
train, valid, test = order[:150], order[150:800], order[800:]
X = (X.float() / 16 - 0.5) * 2


def fit(recipe: Recipe) -> tuple[float, float]:
    """Train one network and return its cross-entropy on the training rows and on the test rows."""
    torch.manual_seed(0)  # the network's initial weights; what poise draws depends on the run's own seed
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    run = recipe.start(model, seed=0)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=3e-3, weight_decay=0.0)
    for epoch in range(40):
        shuffled = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch))]
        for rows in shuffled.split(50):
            inputs, targets = run.batch(X[rows], y[rows])
            outputs = run.model(inputs)
            loss = run.objective(F.cross_entropy(outputs, targets), outputs=outputs)
            loss.backward()
            run.update(optimizer)  # gradient -> shrink -> the optimizer's step -> update -> average
        with run.evaluation() as model, torch.no_grad():
            score = F.cross_entropy(model(X[valid]), y[valid])
        if run.stop(score):
            break
    predict = run.predictor()  # the best weights that `stop` saw, else the averaged ones, else the last
    with torch.no_grad():
        return tuple(float(F.cross_entropy(predict(X[part]), y[part])) for part in (train, test))


recipe = Recipe(Mixup(0.4), Dropout(0.2), ClipNorm(1.0), Decay(0.05), MaxNorm(3.0), Ema(0.98), Patience(10))
for name, chosen in (("no regularizer", Recipe()), ("with the recipe", recipe)):
    on_train, on_test = fit(chosen)
    print(f"{name}: train {on_train:.3f}, test {on_test:.3f}, gap {on_test - on_train:.3f}")
