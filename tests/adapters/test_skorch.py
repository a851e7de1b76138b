"""skorch under a recipe, against plain skorch and a recipe in a loop of one's own."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from poise import ArgumentError, Ema, Patience, Recipe
from poise.adapters.skorch import Regularized

pytestmark = [
    pytest.mark.filterwarnings("ignore:l2 and decay both shrink:poise.PoiseWarning"),
    pytest.mark.usefixtures("seeded"),
]


class Net(Regularized, NeuralNetClassifier):
    pass


class Small(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def net(recipe: Recipe | None, **options: Any) -> Any:
    chosen = {
        "criterion": nn.CrossEntropyLoss, "optimizer": torch.optim.AdamW, "optimizer__weight_decay": 0.0, "lr": 1e-2,
        "batch_size": 8, "max_epochs": 10, "train_split": None, "verbose": 0, "iterator_train__shuffle": False,
    } | options  # fmt: skip
    return NeuralNetClassifier(Small, **chosen) if recipe is None else Net(Small, recipe=recipe, **chosen)


def arrays(rows: TensorDataset) -> tuple[np.ndarray, np.ndarray]:
    return rows.tensors[0].numpy(), rows.tensors[1].numpy()


def test_an_empty_recipe_is_plain_skorch_bit_for_bit(rows: TensorDataset, light: Any) -> None:
    plain, ours = (net(recipe).fit(*arrays(rows)) for recipe in (None, Recipe()))
    assert not light.differing(plain.module_.state_dict(), ours.module_.state_dict())


def test_fifty_steps_are_those_of_the_own_loop_bit_for_bit(rows: TensorDataset, light: Any) -> None:
    ours = net(light.usual()).fit(*arrays(rows))
    run = light.usual().start(Small())
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(50):
        x, y = run.batch(*rows[torch.arange(light.ROWS).split(8)[step % 5]])
        outputs = run.model(x)
        run.objective(F.cross_entropy(outputs, y), outputs=outputs).backward()
        run.update(optimizer)
    assert not light.differing(ours.run_.state_dict(), run.state_dict())
    weights = dict(ours.module_.named_parameters())
    assert not light.differing({name: weights[name].detach() for name in weights}, run.averaged)


def test_patience_ends_the_fit_and_the_best_weights_stay(rows: TensorDataset) -> None:
    options = net(None).get_params()["train_split"], NeuralNetClassifier(Small).get_params()["train_split"]
    ours = net(Recipe(Patience(2)), max_epochs=300, train_split=options[1], lr=0.1).fit(*arrays(rows))
    scores = [entry["score"] for entry in ours.run_.history]
    assert len(ours.history) == len(scores) == scores.index(min(scores)) + 3 < 300
    assert scores == ours.history[:, "valid_loss"]
    best = ours.run_.best["weights"]["0.weight"]
    assert torch.equal(ours.module_[0].weight, best)


def test_a_fitted_net_is_pickled_cloned_and_cross_validated(rows: TensorDataset) -> None:
    X, y = arrays(rows)
    ours = net(Recipe(Ema(0.5))).fit(X, y)
    again = pickle.loads(pickle.dumps(ours))
    assert np.array_equal(again.predict_proba(X), ours.predict_proba(X))
    assert len(cross_val_score(net(Recipe(Ema(0.5))), X, y, cv=2)) == 2


def test_wrong_arguments_are_refused(rows: TensorDataset) -> None:
    with pytest.raises(ArgumentError, match=r"`Net\.recipe` must be a Recipe"):
        net("l2").fit(*arrays(rows))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"`Net\.monitor` must name a metric of the validation"):
        net(Recipe(Patience(2))).fit(*arrays(rows))  # no validation, so no score
    ours = net(Recipe()).fit(*arrays(rows))
    with pytest.raises(ArgumentError, match="partial_fit` cannot go on"):
        ours.partial_fit(*arrays(rows))
