"""The recipe of each architecture on real data: `python architectures.py mlp|cnn|rnn|transformer [steps]`."""

import sys
from functools import partial
from pydoc_data.topics import topics  # the language reference: English text that comes with every Python

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from poise import Patience, Recipe, WarmUp, recipes
from poise.models import Mlp, RecurrentNet, ResNet, SmallTransformer

torch.set_num_threads(1)  # faster for products as small as these
name, steps = (sys.argv[1:] or ["mlp"])[0], int((sys.argv[2:] or [500])[0])


def digits(*shape: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    X, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
    pair = (X[order].float() / 8 - 1).view(-1, *shape), F.one_hot(y[order], 10).float()
    return [(pair[0][rows], pair[1][rows]) for rows in (slice(100), slice(100, 600), slice(600, None))]


def text(rows: int = 200, length: int = 32) -> list[tuple[torch.Tensor, torch.Tensor]]:
    letters = "\n".join(topics.values()).encode("ascii", "ignore")[: 3 * rows * (length + 1)]
    windows = torch.tensor(list(letters)).view(3, rows, length + 1)
    return [(window[:, :-1], F.one_hot(window[:, 1:], 128).float()) for window in windows]  # the next character


def loss_of(network: torch.nn.Module, part: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return F.cross_entropy(network(part[0]).flatten(0, -2), part[1].flatten(0, -2))


small = recipes.cnn(steps=steps, flip=0.0, pixels=1.0, cutout=0.25, decay=0.05)  # digits of 8 pixels, AdamW
attentive = recipes.transformer(2.0, smoothing=0.0).plus(Patience(5))
build, (train, valid, test), recipe, rate = {
    "mlp": (partial(Mlp, 64, 10), digits(64), recipes.mlp(decay=0.05), 1e-3),
    "cnn": (partial(ResNet, 1, 10, width=8, blocks=1), digits(1, 8, 8), small, 3e-3),
    "rnn": (partial(RecurrentNet, 128, 128, tied=True), text(), recipes.rnn(steps=steps, decay=0.01), 5e-3),
    "transformer": (partial(SmallTransformer, 128, 128, length=32), text(), attentive, 2e-3),
}[name]
for words, chosen in (("no regularizer", Recipe()), ("early stopping", Recipe(Patience(5))), ("the recipe", recipe)):
    torch.manual_seed(0)
    run = chosen.start(build(), seed=0, classes=train[1].shape[-1])
    optimizer = torch.optim.AdamW(run.model.parameters(), weight_decay=0.0)
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = float(WarmUp(rate, steps=50)(step))
        rows = torch.randperm(len(train[0]))[:32]
        run.objective(loss_of(run.model, run.batch(train[0][rows], train[1][rows]))).backward()
        run.update(optimizer)
        if step % 25 == 0:
            with run.evaluation([train[0]]) as network, torch.no_grad():
                score = loss_of(network, valid)
            if run.stop(score):
                break
    with torch.no_grad():  # batch statistics of averaged weights are made anew, on the training rows
        seen, watched, unseen = (float(loss_of(run.predictor([train[0]]), part)) for part in (train, valid, test))
    print(f"{words:15} train {seen:.3f}, validation {watched:.3f}, test {unseen:.3f}, gap {unseen - seen:.3f}")
