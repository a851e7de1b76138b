"""torch.compile around the model of a run: the same training, with masks that are drawn anew at every step."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import L2, BatchNorm, Decay, Dropout, Ema, Recipe, WeightNoise
from poise.train.population import Rows
from poise.train.run import Run

RECIPE = Recipe(Dropout(0.4), BatchNorm(), WeightNoise(0.05), L2(1e-3), Ema(0.9))


def trained(table: Rows, backend: str | None) -> Run:
    torch.manual_seed(0)
    run = RECIPE.start(nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 3)), seed=1)
    model = run.model if backend is None else torch.compile(run.model, backend=backend)
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)  # Adam blows rounding up where a gradient is 0
    for _ in range(10):
        inputs, targets = run.batch(table.inputs, table.targets)
        outputs = model(inputs)
        run.objective(F.cross_entropy(outputs, targets), outputs=outputs).backward()
        run.update(optimizer)
    return run


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch._dynamo's own imports
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of the compiler of torch 2.10
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_trains_as_the_plain_one(backend: str, table: Rows) -> None:
    torch._dynamo.reset()
    plain, compiled = trained(table, None), trained(table, backend)
    for name, tensor in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    assert compiled.acted == dict.fromkeys(compiled.acted, True)


def test_a_recipe_without_layers_starts_on_a_compiled_model(table: Rows) -> None:
    model = nn.Linear(7, 3)
    run = Recipe(Decay(0.1)).start(torch.compile(model, backend="eager"))
    before = model.weight.detach().clone()
    run.objective(F.cross_entropy(run.model(table.inputs), table.targets)).backward()
    run.update(torch.optim.SGD(run.model.parameters(), lr=0.1))
    assert not torch.equal(model.weight, before)
