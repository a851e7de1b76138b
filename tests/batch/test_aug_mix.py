"""AugMix: its mixtures against a slow twin, and its term against the definition of the Jensen-Shannon divergence."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.batch import AugMix
from poise.batch.aug_mix import Chains, jensen_shannon
from poise.batch.operations import CORRUPTION_FREE, STANDARD, Choice, operate
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square, kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")

CTX = Context(0, Rng(key(0)))


def drawn(part: AugMix, rows: int) -> Chains:
    return part.draw(CTX.rng, Batch(torch.zeros(rows, 3, 2, 2), torch.zeros(rows)), CTX)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def test_battery_with_views_in_place_of_the_images() -> None:
    check_regularizer(AugMix(weight=2.0, magnitude=0.5, share=0.7, width=2, depth=2))


def test_a_view_is_the_weighted_mixture_of_its_chains() -> None:
    pixels = torch.rand(20, 3, 18, 15, dtype=torch.float64)
    part = AugMix(magnitude=0.8, share=1.0)
    chains = drawn(part, 20)
    found = part.edit(pixels, chains)
    for row in range(20):
        mixture = torch.zeros_like(pixels[:1])
        for k in range(3):
            one = pixels[row : row + 1]
            for turn in range(3):
                single = Choice(chains.operation[row, k, turn][None], chains.magnitude[row, k, turn][None])
                one = operate(one, single, STANDARD)
            mixture += float(chains.weights[row, k]) * one
        m = float(chains.taken[row])
        torch.testing.assert_close(found[row], (1 - m) * pixels[row] + m * mixture[0], rtol=0, atol=1e-6)


def test_draws_have_the_laws_of_algorithm_1_and_wrong_laws_are_caught() -> None:
    rows = 30_000
    chains = drawn(AugMix(magnitude=0.5, share=1.0, width=3, depth=3), rows)
    length = (chains.operation[:, 0] != 0).sum(-1)
    counts = torch.bincount(length, minlength=4).tolist()
    assert counts[0] == 0
    assert chi_square(counts[1:], [rows / 3] * 3) > 1e-6
    assert kolmogorov(chains.taken[:5000]) > 1e-6  # Beta(1, 1)
    assert kolmogorov(chains.magnitude[:5000, 0, 0].abs() / 0.5) > 1e-6
    # One part of Dirichlet(1, 1, 1) is Beta(1, 2), whose distribution function is 1 - (1 - w)^2.
    first = chains.weights[:5000, 0].double()
    assert kolmogorov(1 - (1 - first).square()) > 1e-6
    assert kolmogorov(first) < 1e-6
    torch.testing.assert_close(chains.weights.sum(-1), torch.ones(rows))
    assert set(chains.operation.unique().tolist()) == {0, *CORRUPTION_FREE}


def test_share_is_the_rate_of_rows_that_are_replaced() -> None:
    rows = 50_000
    hit = int((drawn(AugMix(share=0.3), rows).taken > 0).sum())
    assert chi_square([hit, rows - hit], [0.3 * rows, 0.7 * rows]) > 1e-6
    assert chi_square([hit, rows - hit], [0.315 * rows, 0.685 * rows]) < 1e-6


def test_jensen_shannon_is_its_definition_and_symmetric_and_bounded() -> None:
    logits = [3 * torch.randn(50, 4, dtype=torch.float64) for _ in range(3)]
    found = jensen_shannon(logits)
    p = [F.softmax(one, -1) for one in logits]
    mean = (p[0] + p[1] + p[2]) / 3
    expected = [sum(float(F.kl_div(mean[r].log(), one[r], reduction="sum")) for one in p) / 3 for r in range(50)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(found, jensen_shannon(logits[::-1]))
    assert float(found.max()) <= torch.tensor(3.0).log()
    assert torch.equal(jensen_shannon([logits[0]] * 3).abs() < 1e-12, torch.ones(50, dtype=torch.bool))


def test_the_term_is_the_weighted_mean_over_rows_of_two_views(seeded: None) -> None:
    torch.manual_seed(0)
    model = network().double()
    pixels, weights = torch.rand(6, 3, 12, 12, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    seen: list[tuple[Tensor, int]] = []

    def forward(inputs: Tensor, draw: int) -> Tensor:
        seen.append((inputs, draw))
        answer: Tensor = model(inputs)
        return answer

    ctx = Context(
        0,
        Rng(key(0)),
        batch=Batch(pixels, torch.zeros(6, 3), weights),
        outputs=model(pixels),
        classes=3,
        forward=forward,
    )
    term = AugMix(weight=5.0).objective({}, {}, ctx)[0]["aug_mix"]
    assert [draw for _, draw in seen] == [1, 2]
    assert not torch.equal(seen[0][0], seen[1][0])
    each = jensen_shannon([model(pixels), model(seen[0][0]), model(seen[1][0])])
    torch.testing.assert_close(term, 5 * (each * weights).sum() / weights.sum())


def test_numbers_are_compared_by_their_squared_distance_from_the_mean() -> None:
    batch = Batch(torch.rand(2, 1, 4, 4), torch.zeros(2))
    answers = iter([torch.tensor([2.0, 0.0]), torch.tensor([3.0, 0.0])])
    ctx = Context(0, Rng(key(0)), batch=batch, outputs=torch.tensor([1.0, 0.0]), forward=lambda x, draw: next(answers))
    term = AugMix(weight=1.0).objective({}, {}, ctx)[0]["aug_mix"]
    assert float(term) == pytest.approx((2 / 3 + 0) / 2)


def test_a_run_trains_with_it_and_is_told_without_rows(one_hot) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    run = Recipe(AugMix()).start(network(), seed=0, classes=3)
    optimizer = torch.optim.SGD(run.model.parameters(), 0.1)
    x, y = run.batch(torch.rand(6, 3, 12, 12), torch.arange(6) % 3)
    out = run.model(x)
    run.objective(F.cross_entropy(out, y), outputs=out).backward()
    run.update(optimizer)
    assert float(run.terms["aug_mix"]) > 0
    with pytest.raises(ArgumentError, match=r"`AugMix` must see rows and outputs; got none"):
        run.objective(F.cross_entropy(run.model(x), y))


def test_several_tasks_and_wrong_sizes_are_refused() -> None:
    batch = Batch(torch.rand(2, 1, 4, 4), torch.zeros(2))
    ctx = Context(0, Rng(key(0)), batch=batch, outputs={"a": torch.zeros(2)})
    with pytest.raises(ArgumentError, match=r"`AugMix` must have one output tensor, of one task; got several"):
        AugMix().objective({}, {}, ctx)
    for field in ("width", "depth"):
        for value in (0, 1.5, True):
            with pytest.raises(ArgumentError, match=rf"`AugMix.{field}` must be an int >= 1"):
                AugMix(**{field: value})  # type: ignore[arg-type]
