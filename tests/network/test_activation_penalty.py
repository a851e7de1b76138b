"""The activation penalty against hooks of the test's own, in a run and in a population."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import Dropout, Recipe
from poise.core.errors import ArgumentError
from poise.models.tabular import Mlp
from poise.network import ActivationPenalty
from poise.testing import check_regularizer
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

pytestmark = pytest.mark.usefixtures("seeded")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def answers(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What each activation answers, each call in turn."""
    seen: list[Tensor] = []
    sites = [module for module in model.modules() if isinstance(module, (nn.ReLU, nn.Tanh))]
    hooks = [site.register_forward_hook(lambda *io: seen.append(io[2])) for site in sites]
    model(x)
    for hook in hooks:
        hook.remove()
    return seen


def term(run: Any, x: Tensor, weights: Tensor | None = None) -> Tensor:
    """The term with its graph."""
    x, y = run.batch(x, torch.arange(len(x)) % 3, *(() if weights is None else (weights,)))[:2]
    out = run.model(x)
    loss = F.cross_entropy(out, y)
    return run.objective(loss, outputs=out) - loss


def test_it_passes_the_battery() -> None:
    assert check_regularizer(ActivationPenalty(0.3, l2=0.2)).count >= 22


def test_it_is_the_sum_over_sites_of_mean_sizes_and_half_mean_squares() -> None:
    model, x = network(), torch.randn(7, 4, dtype=torch.float64)
    expected = sum(0.3 * h.abs().mean() + 0.5 * 0.2 * h.square().mean() for h in answers(model, x))
    found = term(Recipe(ActivationPenalty(0.3, l2=0.2)).start(model), x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    ours = torch.autograd.grad(found, model[0].weight, retain_graph=True)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(expected, model[0].weight)[0], rtol=1e-10, atol=1e-15)


def test_rows_count_by_their_weights() -> None:
    model, x = network(), torch.randn(4, 4, dtype=torch.float64)
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=torch.float64)
    expected = sum((weights * h.abs().mean(1)).sum() / weights.sum() for h in answers(model, x))
    found = term(Recipe(ActivationPenalty(1.0)).start(model), x, weights)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_it_sees_what_the_activation_answers_before_dropout() -> None:
    x = torch.randn(7, 4, dtype=torch.float64)
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    expected = answers(plain, x)[0].mean()
    run = Recipe(ActivationPenalty(1.0), Dropout(0.5)).start(plain)
    torch.testing.assert_close(term(run, x), expected, rtol=1e-12, atol=1e-15)
    assert bool((run.model[1](x) == 0).any())  # dropout is there


def test_a_reused_activation_counts_with_the_mean_of_its_calls() -> None:
    relu, x = nn.ReLU(), torch.randn(7, 4, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(4, 6), relu, nn.Linear(6, 5), relu, nn.Linear(5, 3)).double()
    expected = torch.stack([h.mean() for h in answers(model, x)]).mean()
    torch.testing.assert_close(term(Recipe(ActivationPenalty(1.0)).start(model), x), expected, rtol=1e-12, atol=0)


def test_each_step_sees_its_own_pass_and_evaluation_is_not_seen() -> None:
    run = Recipe(ActivationPenalty(1.0)).start(network())
    first, second = (torch.randn(7, 4, dtype=torch.float64) for _ in range(2))
    alone = term(run, second).detach()
    term(run, first)
    with run.evaluation() as model:
        model(100 * first)
    assert torch.equal(term(run, second).detach(), alone)


def test_neutral_adds_nothing_and_the_model_copies() -> None:
    run = Recipe(ActivationPenalty(0.0)).start(network())
    assert float(term(run, torch.randn(7, 4, dtype=torch.float64)).detach()) == 0
    run = Recipe(ActivationPenalty(1.0)).start(network())
    run.model(torch.randn(7, 4, dtype=torch.float64))
    copy.deepcopy(run.model)


def test_l1_makes_activations_sparser_in_a_population() -> None:
    data = Rows(torch.randn(60, 4), F.one_hot(torch.arange(60) % 3, 3).float())
    recipe = Recipe(ActivationPenalty(0.0))
    members = Population(lambda: Mlp(4, 3, width=32, depth=1), recipe, CrossEntropy(), lr=[1e-2] * 2, members=[0, 0],
                         dials={"activation_penalty.l1": torch.tensor([0.0, 1.0])}, classes=3)  # fmt: skip
    members.train(data, 200, 20)
    weights = members.state.flat.views()
    zero = []
    for member in range(2):
        weight, bias = (weights[f"layers.0.{kind}"][member] for kind in ("weight", "bias"))
        zero.append(float((data.inputs @ weight.T + bias <= 0).float().mean()))
    assert zero[1] > zero[0] + 0.2


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`ActivationPenalty.where` must be one of .*; got 'everywhere'"):
        ActivationPenalty(where="everywhere")
