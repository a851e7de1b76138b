"""Which measurements tell a tumour? A path over strengths, and what the chosen features are worth on other rows."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer

import poise

torch.set_num_threads(1)  # the networks are small
data = load_breast_cancer(as_frame=True)
order = np.random.default_rng(0).permutation(len(data.target))
develop, test = order[:400], order[400:]  # the test rows are looked at once, at the end

found = poise.select_features(data.data.iloc[develop], data.target.iloc[develop], strengths=20, width=16)
print(found.table(12))
print(f"chosen: {len(found.chosen)} of {len(found.features)} features")


def log_loss(features: list[str]) -> float:
    """A network trained on the development rows, with these features alone, on the test rows."""
    x = torch.tensor(data.data[features].to_numpy(), dtype=torch.float32)
    x = (x - x[develop].mean(0)) / x[develop].std(0)
    y = torch.tensor(data.target.to_numpy())
    torch.manual_seed(0)
    run = poise.Recipe(poise.Decay(1.0)).start(
        torch.nn.Sequential(torch.nn.Linear(len(features), 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    )
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=0.005, weight_decay=0.0)
    for _ in range(300):
        run.objective(torch.nn.functional.cross_entropy(run.model(x[develop]), y[develop])).backward()
        run.update(optimizer)
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(run.model(x[test]), y[test]))


print(f"log-loss on test rows: all {log_loss(list(found.features)):.4f}, chosen {log_loss(list(found.chosen)):.4f}")
