"""Several tasks through a whole run and a whole population, against loops of plain torch."""

import io
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.batch import LabelSmoothing, Mixup
from poise.core.context import Batch
from poise.core.recipe import Recipe
from poise.gradient import ClipNorm, PcGrad
from poise.network import CrossStitch, Dropout, MultiTask
from poise.objective import (
    L2,
    Adversarial,
    DynamicWeights,
    GradNorm,
    SoftSharing,
    TaskLosses,
    TaskWeight,
    UncertaintyWeights,
)
from poise.train.population import Population, Rows

TASKS = ("age", "species")
LOSSES = TaskLosses({"age": "numbers", "species": "classes"})
WEIGHTINGS = [
    TaskWeight(0.3, tasks=("age",)),
    UncertaintyWeights(0.1, tasks=TASKS),
    DynamicWeights(1.0, tasks=TASKS, window=2),
    GradNorm(0.1, tasks=TASKS),
]
pytestmark = pytest.mark.filterwarnings("ignore:dynamic_weights and grad_norm and:poise.PoiseWarning")  # on purpose
ALL = Recipe(PcGrad(), Dropout(0.2), L2(1e-2), ClipNorm(1.0), *WEIGHTINGS)


def build() -> nn.Module:
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.ReLU())
    return MultiTask(trunk, {"age": nn.Linear(6, 1), "species": nn.Linear(6, 3)})


def started() -> nn.Module:
    torch.manual_seed(3)
    return build().double()


def rows(count: int = 32, missing: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    targets = {"age": 30 * inputs[:, 0] + 5 * inputs[:, 1], "species": (inputs[:, :3]).argmax(1)}
    if missing:
        targets["age"][::3] = torch.nan
        targets["species"][1::4] = -1
    return inputs, targets


def trained(recipe: Recipe, steps: int = 6, saved: int = -1, missing: bool = False) -> dict[str, Tensor]:
    """Steps of AdamW; after `saved` of them, everything goes through a file into new objects."""
    inputs, targets = rows(missing=missing)

    def begin() -> tuple[Any, torch.optim.Optimizer]:
        run = recipe.start(started(), seed=5)
        return run, torch.optim.AdamW(run.model.parameters(), lr=0.02, weight_decay=0.0)

    run, optimizer = begin()
    for step in range(steps):
        if step == saved:
            file = io.BytesIO()
            torch.save((run.state_dict(), run.model.state_dict(), optimizer.state_dict()), file)
            file.seek(0)
            run, optimizer = begin()
            for thing, state in zip((run, run.model, optimizer), torch.load(file, weights_only=True), strict=True):
                thing.load_state_dict(state)
        part = slice(8 * (step % 4), 8 * (step % 4) + 8)
        x, y = run.batch(inputs[part], {task: own[part] for task, own in targets.items()})
        outputs = run.model(x)
        run.objective(LOSSES(outputs, y), outputs=outputs).backward()
        run.update(optimizer)
    return {name: weight.detach() for name, weight in run.model.named_parameters()}


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.usefixtures("seeded")
def test_without_parts_it_is_the_plain_loop_on_the_sum_of_the_losses() -> None:
    model, (inputs, targets) = started(), rows()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0)
    for step in range(6):
        part = slice(8 * (step % 4), 8 * (step % 4) + 8)
        outputs = model(inputs[part])
        optimizer.zero_grad()
        numbers = torch.square(outputs["age"] - targets["age"][part, None]).mean()
        (numbers + F.cross_entropy(outputs["species"], targets["species"][part])).backward()
        optimizer.step()
    for name, weight in trained(Recipe()).items():
        torch.testing.assert_close(weight, model.get_parameter(name).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("seeded")
def test_every_part_at_neutral_is_no_part_bit_for_bit() -> None:
    assert differing(trained(Recipe(PcGrad(), *WEIGHTINGS).neutral()), trained(Recipe())) == []


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("part", [PcGrad(), *WEIGHTINGS], ids=lambda part: part.name)
def test_every_part_changes_the_training(part: Any) -> None:
    assert differing(trained(Recipe(part)), trained(Recipe()))


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("missing", [False, True])
def test_a_run_that_resumes_equals_one_that_never_stopped(missing: bool) -> None:
    recipe = ALL.plus(Mixup(0.4, share=0.5), LabelSmoothing(0.1))
    whole = trained(recipe, missing=missing)
    assert differing(whole, trained(recipe, saved=3, missing=missing)) == []
    assert all(bool(torch.isfinite(weight).all()) for weight in whole.values())


@pytest.mark.usefixtures("seeded")
def test_surgery_of_a_weighted_and_penalised_step_is_the_one_done_by_hand() -> None:
    """One step of SGD: gradients of the weighted tasks, projected, plus the penalty's."""
    inputs, targets = rows()
    recipe = Recipe(PcGrad(), TaskWeight(0.01, tasks=("age",)), L2(0.1))
    model = started()
    params = dict(model.named_parameters())
    losses = LOSSES(model(inputs), targets)
    each = []
    for loss in (0.01 * losses["age"], losses["species"]):
        found = torch.autograd.grad(loss, list(params.values()), retain_graph=True, allow_unused=True)
        parts = zip(found, params.values(), strict=True)
        each.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in parts]))
    first, second = each
    dot = float(first @ second)
    assert dot < 0
    expected = first - dot / (second @ second) * second + second - dot / (first @ first) * first
    decay = torch.cat([0.1 * p.detach().flatten() * (p.dim() > 1) for p in params.values()])
    run = recipe.start(model)
    before = torch.cat([p.detach().clone().flatten() for p in params.values()])
    run.objective(LOSSES(run.model(inputs), targets)).backward()
    run.update(torch.optim.SGD(run.model.parameters(), lr=0.5))
    after = torch.cat([p.detach().flatten() for p in params.values()])
    torch.testing.assert_close(before - after, 0.5 * (expected + decay), rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("seeded")
def test_surgery_on_two_micro_batches_equals_surgery_on_their_union() -> None:
    inputs, targets = rows()
    recipe = Recipe(PcGrad(), TaskWeight(0.01, tasks=("age",)), L2(0.1))
    found = []
    for pieces in (1, 2):
        run = recipe.start(started())
        for part in torch.arange(32).chunk(pieces):
            losses = LOSSES(run.model(inputs[part]), {task: own[part] for task, own in targets.items()})
            (run.objective(losses) / pieces).backward()
        run.update(torch.optim.SGD(run.model.parameters(), lr=0.5))
        found.append({name: weight.detach() for name, weight in run.model.named_parameters()})
    assert not torch.equal(found[0]["trunk.0.weight"], started().get_parameter("trunk.0.weight"))
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("seeded")
def test_a_batch_without_labels_of_a_task_trains_the_other_alone() -> None:
    inputs, targets = rows()
    targets["age"] = torch.full_like(targets["age"], torch.nan)
    run = Recipe(PcGrad(), *WEIGHTINGS).start(started())
    head = run.model.get_parameter("heads.age.weight").detach().clone()
    for _ in range(3):
        run.objective(LOSSES(run.model(inputs), targets)).backward()
        run.update(torch.optim.SGD(run.model.parameters(), lr=0.1))
    assert float(run.terms["data/age"]) == 0.0
    assert torch.equal(run.model.get_parameter("heads.age.weight"), head)
    assert all(bool(torch.isfinite(weight).all()) for weight in run.model.parameters())


@pytest.mark.usefixtures("seeded")
def test_a_part_that_asks_for_the_loss_gets_the_sum_over_tasks() -> None:
    inputs, targets = rows()
    found = []
    for loss in (LOSSES, lambda outputs, y: torch.stack([*LOSSES(outputs, y).values()]).sum()):
        run = Recipe(Adversarial(0.1)).start(started(), loss=loss)
        x, y = run.batch(inputs, targets)
        outputs = run.model(x)
        run.objective(LOSSES(outputs, y), outputs=outputs)
        found.append(float(run.terms["adversarial"]))
    assert found[0] == found[1] > 0


def test_tied_heads_have_the_gradient_of_both_tasks() -> None:
    """One head under two names: no task's own, so surgery sees both gradients there."""
    head = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    model = MultiTask(nn.Identity(), {"a": head, "b": head})
    run = Recipe(PcGrad()).start(model)
    start, x = head.weight.detach().clone(), torch.eye(2, dtype=torch.float64)
    outputs = run.model(x)
    # Gradients (2, 0) and (-1, 1): see the example of the plane in tests/gradient/test_pc_grad.py.
    run.objective({"a": 2 * outputs["a"][0, 0], "b": outputs["b"][1, 0] - outputs["b"][0, 0]}).backward()
    run.update(torch.optim.SGD(run.model.parameters(), lr=1.0))
    torch.testing.assert_close(start - head.weight.detach(), torch.tensor([[1.0, 2.0]], dtype=torch.float64))


@pytest.mark.usefixtures("seeded")
def test_sparse_gradients_are_those_of_a_dense_embedding() -> None:
    tasks = ("a", "b", "c")
    words = torch.tensor([[0, 2], [2, 5], [5, 5]])
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        trunk = nn.EmbeddingBag(9, 4, mode="sum", sparse=sparse, dtype=torch.float64)
        model = MultiTask(trunk, {task: nn.Linear(4, 1, dtype=torch.float64) for task in tasks})
        run = Recipe(PcGrad()).start(model)
        start = trunk.weight.detach().clone()
        outputs = run.model(words)
        run.objective({task: (k - 1) * outputs[task].square().sum() for k, task in enumerate(tasks)}).backward()
        run.update(torch.optim.SGD(run.model.parameters(), lr=0.5))
        found.append(trunk.weight.detach() - start)
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    assert found[1].any(1).tolist() == [True, False, True, False, False, True, False, False, False]


def population(members: list[int], recipe: Recipe, dials: dict[str, Tensor] | None = None) -> Population:
    rates = [1e-2, 3e-3, 1e-2]
    return Population(build, recipe, LOSSES, lr=[rates[m] for m in members], members=members, seed=2, dials=dials)


@pytest.mark.parametrize("recipe", [ALL, ALL.plus(Mixup(0.4, share=0.5))], ids=["rows", "mixed rows"])
def test_a_member_of_a_population_equals_itself_alone(recipe: Recipe) -> None:
    inputs, targets = rows(missing=True)
    data = Rows(inputs.float(), {"age": targets["age"].float(), "species": species(targets["species"])})
    shares = torch.tensor([1.0, 0.5, 0.0])
    together = population([0, 1, 2], recipe, {"pc_grad.share": shares})
    together.train(data, 12, 8)
    for member in range(3):
        alone = population([member], recipe, {"pc_grad.share": shares[member : member + 1]})
        alone.train(data, 12, 8)
        for name, weight in alone.state.flat.views().items():
            torch.testing.assert_close(together.state.flat.views()[name][member], weight[0], rtol=1e-5, atol=1e-6)
    assert not bool(together.diverged.any())


def species(classes: Tensor) -> Tensor:
    found = F.one_hot(classes.clamp(min=0), 3).float()
    return found.masked_fill((classes < 0)[:, None], torch.nan)


def test_a_population_answers_and_is_scored_by_task() -> None:
    inputs, targets = rows()
    data = Rows(inputs.float(), {"age": targets["age"].float(), "species": species(targets["species"])})
    several = population([0, 1, 2], Recipe())
    several.train(data, 5, 8)
    outputs = several.outputs(data.inputs, chunk=10)
    assert {task: tuple(own.shape) for task, own in outputs.items()} == {"age": (3, 32, 1), "species": (3, 32, 3)}
    picked = data.select(torch.tensor([3, 1]))
    torch.testing.assert_close(several.outputs(picked.inputs)["age"], outputs["age"][:, [3, 1]])

    def score(outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        return torch.stack([torch.stack([*own.values()]).sum() for own in each(outputs, batch)])

    def each(outputs: dict[str, Tensor], batch: Batch) -> list[dict[str, Tensor]]:
        targets: Any = batch.targets
        members = range(len(outputs["age"]))
        return [LOSSES({t: o[m] for t, o in outputs.items()}, {t: y[m] for t, y in targets.items()}) for m in members]

    scores = several.evaluate(data, score)
    assert scores.shape == (3,)
    assert bool(torch.isfinite(scores).all())


@pytest.mark.usefixtures("seeded")
def test_soft_sharing_pulls_the_trunks_of_a_cross_stitch_network_together() -> None:
    inputs, targets = rows()

    def apart(weight: float) -> float:
        torch.manual_seed(0)
        trunks = {task: nn.Sequential(nn.Sequential(nn.Linear(4, 6), nn.Tanh())) for task in TASKS}
        model = CrossStitch(trunks, {"age": nn.Linear(6, 1), "species": nn.Linear(6, 3)}).double()
        run = Recipe(SoftSharing(weight, modules=("trunks.age", "trunks.species"))).start(model)
        optimizer = torch.optim.AdamW(run.model.parameters(), lr=0.02, weight_decay=0.0)
        for _ in range(60):
            run.objective(LOSSES(run.model(inputs), targets)).backward()
            run.update(optimizer)
        one, other = (run.model.get_parameter(f"trunks.{task}.0.0.weight") for task in TASKS)
        return float((one - other).detach().norm())

    distances = [apart(weight) for weight in (0.0, 10.0, 1000.0)]
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.1 * distances[0]
