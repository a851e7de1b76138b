"""Five ways to average on 200 rows of digits: accuracy, log-loss and calibration error, and what each costs."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from poise import CosineCycles, Dropout, DropoutAtTest, Recipe, SnapshotEnsemble, Swag
from poise.predict import calibrate, calibration
from poise.train.bagging import bagged
from poise.train.losses import CrossEntropy
from poise.train.optimizers import Sgd
from poise.train.population import Rows

X, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
X = X.float() / 8 - 1
order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
train, held_out, test = order[:200], order[200:500], order[500:]
STEPS = 600
torch.set_num_threads(1)  # faster for products as small as these


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def fit(recipe: Recipe, rate: object) -> nn.Module:
    """Train one network at the rates of a schedule and return what the recipe predicts with."""
    torch.manual_seed(0)
    run = recipe.start(network(), seed=0)
    optimizer = torch.optim.SGD(run.model.parameters(), momentum=0.9)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = float(rate(step))
        rows = train[torch.randint(len(train), (40,))]
        run.objective(F.cross_entropy(run.model(X[rows]), y[rows])).backward()
        run.update(optimizer)
    return run.predictor()


def show(name: str, predictor: nn.Module, cost: str) -> None:
    with torch.no_grad():
        found = calibration(torch.softmax(predictor(X[test]), dim=1), y[test])
    print(f"{name:<28}{found.accuracy:8.3f}{found.log_loss:10.3f}{found.error:8.3f}  {cost}")


once, cycles = CosineCycles(0.1, 0.0, steps=STEPS), CosineCycles(0.1, 0.0, steps=STEPS // 5)
print(f"{'':<28}accuracy  log-loss     ECE  cost: training, prediction")
single = fit(Recipe(), once)
show("single network", single, "1, 1")
tempered = calibrate(single, X[held_out], y[held_out])
show(f"  at temperature {tempered.temperature:.2f}", tempered.predictor, "1, 1, and 300 held-out rows")
show("5 snapshots", fit(Recipe(SnapshotEnsemble(cycles=5, steps=STEPS // 5)), cycles), "1, 5")
show("SWAG, 20 samples", fit(Recipe(Swag(start=300, every=5, samples=20)), lambda _: 0.05), "1, 20")
show("dropout", fit(Recipe(Dropout(0.3)), once), "1, 1")
show("dropout at test, 20 passes", fit(Recipe(Dropout(0.3), DropoutAtTest(20)), once), "1, 20")
data = Rows(X[train], F.one_hot(y[train], 10).float())
bag = bagged(network, Recipe(), data, CrossEntropy(), steps=STEPS, lr=0.1, optimizer=Sgd(0.9), schedule=once)
show("10 bagged networks", bag.ensemble, "10, 10")
print(f"bagging's own estimate from its training rows: log-loss {bag.score:.3f}")
