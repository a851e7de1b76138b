"""Recipes by architecture: neutral at strength 0, values in proportion, found by the networks they are for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import ArgumentError, Linear, Recipe, recipes
from poise.core.conflicts import conflicts
from poise.models import Mlp, RecurrentNet, ResNet, SmallTransformer, VisionTransformer, WideResNet

pytestmark = pytest.mark.usefixtures("seeded")
Build = Callable[[], nn.Module]

MAKERS: dict[str, Callable[..., Recipe]] = {
    "mlp": recipes.mlp,
    "cnn": recipes.cnn,
    "rnn": recipes.rnn,
    "transformer": recipes.transformer,
    "resnet": recipes.resnet,
    "wide_resnet": recipes.wide_resnet,
    "vit": recipes.vit,
}
SHAPES = ("mixup_or_cut_mix.cut", "mixup_or_cut_mix.mixup_alpha", "mixup_or_cut_mix.cut_alpha")
IMAGES = ("cnn", "resnet", "wide_resnet", "vit")
NETS: dict[str, Build] = {
    "mlp": lambda: Mlp(4, 3, width=8),
    "cnn": lambda: ResNet(1, 3, width=4, blocks=1, stages=1),
    "rnn": lambda: RecurrentNet(5, 5, width=8, tied=True),
    "transformer": lambda: SmallTransformer(5, 5, length=6, width=8, heads=2),
    "resnet": lambda: ResNet(1, 3, width=4, blocks=1, stages=1),
    "wide_resnet": lambda: WideResNet(1, 3, width=1, depth=10),
    "vit": lambda: VisionTransformer(1, 3, height=6, width=6, patch=2, features=8, heads=2, depth=1),
}


def batch_of(name: str) -> tuple[Tensor, Tensor]:
    if name == "mlp":
        return torch.randn(8, 4), torch.arange(8) % 3
    if name in IMAGES:
        return torch.randn(8, 1, 6, 6), torch.arange(8) % 3
    words = torch.randint(0, 5, (8, 7))
    return words[:, :-1], F.one_hot(words[:, 1:], 5).float()


def trained(name: str, recipe: Recipe, steps: int = 4) -> Tensor:
    torch.manual_seed(0)
    run = recipe.start(NETS[name](), seed=0, classes=3 if name in ("mlp", *IMAGES) else 5)
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    own = torch.Generator().manual_seed(0)
    inputs, targets = batch_of(name)
    for _ in range(steps):
        rows = torch.randperm(8, generator=own)[:6]
        x, y = run.batch(inputs[rows], targets[rows])
        outputs = run.model(x)
        loss = F.cross_entropy(outputs, y) if outputs.dim() == 2 else F.cross_entropy(outputs.mT, y.mT)
        run.objective(loss, outputs=outputs).backward()
        run.update(optimizer)
    run.stop(1.0)
    with run.evaluation() as model:
        answer: Tensor = model(inputs).detach()
    return answer


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("name", MAKERS)
def test_strength_0_is_the_plain_loop(name: str, steps: int | None) -> None:
    assert torch.equal(trained(name, MAKERS[name](0.0, steps=steps)), trained(name, Recipe()))


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("name", MAKERS)
def test_strength_1_changes_training_and_every_part_acts(name: str, steps: int | None) -> None:
    recipe = MAKERS[name](steps=steps)
    assert conflicts(recipe, NETS[name]()) == []
    assert not torch.equal(trained(name, recipe), trained(name, Recipe()))


@pytest.mark.parametrize("steps", [None, 10])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 7.0, 1e6])
@pytest.mark.parametrize("name", MAKERS)
def test_every_strength_is_legal_and_comes_back_from_a_file(name: str, strength: float, steps: int | None) -> None:
    recipe = MAKERS[name](strength, steps=steps)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@pytest.mark.parametrize("name", MAKERS)
def test_values_lie_between_neutral_and_full_in_proportion(name: str) -> None:
    half, full, declared = MAKERS[name](0.5), MAKERS[name](1.0), MAKERS[name](1.0).declared()
    for key, value in full.dials().items():
        if key in ("mixup.alpha", "cutout.share", "patience.minimum_change", "ema.decay") or key in SHAPES:
            continue  # a shape; as often; a threshold that is 0; an average over half as many steps
        if declared[key].neutral == float("inf"):
            assert half.dials()[key] == pytest.approx(2 * value), key
        else:
            assert half.dials()[key] == pytest.approx(value / 2), key


def test_an_average_runs_over_as_many_more_steps() -> None:
    assert recipes.cnn(1.0)["ema"].decay == pytest.approx(0.999)
    assert recipes.cnn(0.5)["ema"].decay == pytest.approx(0.998)
    assert recipes.cnn(steps=100)["swa"].start == 75
    assert "ema" not in recipes.cnn(steps=100)


def test_schedules_of_100_steps() -> None:
    dropout = recipes.mlp(steps=100)["dropout"].p
    assert [float(dropout(step)) for step in (0, 5, 10, 99)] == [0.0, 0.25, 0.5, 0.5]
    mixup = recipes.cnn(steps=100)["mixup"].share
    assert [float(mixup(step)) for step in (0, 79, 80, 99)] == [1.0, 1.0, 0.0, 0.0]
    path = recipes.transformer(steps=100)["drop_path"].p
    assert [float(path(step)) for step in (0, 10, 99)] == pytest.approx([0.0, 0.1, 0.1])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": -1.0}, "strength` must be a finite number >= 0; got -1.0"),
        ({"strength": float("nan")}, "strength` must be a finite number >= 0; got nan"),
        ({"strength": True}, "strength` must be a finite number >= 0; got True"),
        ({"strength": Linear(0.0, 1.0, 5)}, "strength` must be a finite number >= 0; got Linear"),
        ({"steps": 0}, "steps` must be an int >= 1, or None; got 0"),
        ({"steps": 1.5}, "steps` must be an int >= 1, or None; got 1.5"),
    ],
)
def test_bad_arguments_are_named(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"`{name}.{message}"):
        MAKERS[name](**arguments)
