"""Networks of a study of text, and the head and step that train them."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from poise.batch import LabelSmoothing
from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.data.characters import START, CharacterEncoder
from poise.network import LockedDropout, RecurrentDropConnect, TemporalPenalty
from poise.study.cohort import plan_for
from poise.study.sequence_head import SequenceHead
from poise.study.space import Space
from poise.study.text_network import TEXT_NETWORKS, TextDesign, TextNetwork
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

ENCODER = CharacterEncoder("abcde", 6)


def codes(rows: int = 4, seed: int = 0) -> Tensor:
    found = torch.randint(2, ENCODER.size, (rows, 7), generator=torch.Generator().manual_seed(seed))
    found[:, 0] = START
    return found


def network(kind: str = "lstm", **more: object) -> TextNetwork:
    torch.manual_seed(0)
    built = TextDesign(network=kind, width=8, **more).build(ENCODER, 1, None)  # type: ignore[arg-type]
    assert isinstance(built, TextNetwork)
    return built


@pytest.mark.parametrize("kind", TEXT_NETWORKS)
def test_a_character_changes_the_predictions_of_later_ones_only(kind: str) -> None:
    module = network(kind, depth=2)
    module.train()
    x = codes()
    before = module(x)
    assert before.shape == (4, 6, ENCODER.size)
    for place in range(1, 7):
        changed = x.clone()
        changed[:, place] = 2 + (changed[:, place] - 1) % 5
        apart = (module(changed) - before).abs().amax((0, 2)) > 1e-7
        assert not apart[:place].any()
        assert apart[place:].any() or place == 6


@pytest.mark.parametrize("kind", TEXT_NETWORKS)
def test_in_evaluation_it_says_how_probable_each_character_was(kind: str) -> None:
    module, x = network(kind).eval(), codes()
    x[1, 5:] = START  # a text that ends early
    module.logits = True
    logits = module(x).detach()
    module.logits = False
    found = module(x).detach()
    assert found.shape == (4, 6, 1)
    for row in range(4):
        for place in range(6):
            truth = int(x[row, place + 1])
            expected = math.nan if truth == START else float(torch.log_softmax(logits[row, place], 0)[truth])
            assert float(found[row, place, 0]) == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_the_output_layer_is_the_embedding_if_they_are_tied() -> None:
    tied, free = (dict(network(tied=own).named_parameters()) for own in (True, False))
    assert set(free) - set(tied) == {"network.head.weight"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", "rnn", "must be one of lstm, gru, transformer; got 'rnn'"),
        ("width", 0, "must be an int >= 1; got 0"),
        ("depth", True, "must be an int >= 1; got True"),
        ("window", 1, r"must be an int in 2 .. 1024, characters; got 1"),
    ],
)
def test_a_wrong_design_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"`TextDesign.{field}` {message}"):
        TextDesign(**{field: value})  # type: ignore[arg-type]


def test_a_training_on_a_text_takes_many_short_steps() -> None:
    design = TextDesign()
    plan = plan_for(500, effort=design.effort(500))
    assert (plan.batch, plan.steps) == (16, 40 * (500 // 16))
    assert plan_for(5, effort=design.effort(5)).batch == 5
    assert plan_for(10_000, effort=design.effort(10_000)).steps == 16 * (10_000 // 16)


def test_a_transformer_needs_a_width_that_its_heads_divide() -> None:
    with pytest.raises(ArgumentError, match="must be a multiple of 4 for a transformer"):
        TextDesign(network="transformer", width=30)


# ---- the head ----


def test_a_score_is_torchs_cross_entropy_of_the_rows_that_count() -> None:
    module, x = network().eval(), codes(5)
    module.logits = True
    logits = module(x)
    module.logits = False
    weights = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0]])
    total, rows = SequenceHead("x", ENCODER.size).score(module(x)[None], x[None, :, 1:, None], weights)
    kept = [0, 2, 3]
    expected = F.cross_entropy(logits[kept].flatten(0, 1), x[kept, 1:].flatten())
    assert float((total / rows).detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_an_ensemble_is_scored_by_the_mean_of_probabilities() -> None:
    head, chances = SequenceHead("x", 3), torch.tensor([[[0.2], [0.5]], [[0.4], [0.1]]])  # (networks, T, 1) of a row
    mean = chances.mean(0)[None, None]
    total, rows = head.answer_score(mean, torch.zeros(1, 2, 1), torch.ones(1))
    assert float(total / rows) == pytest.approx(-(math.log(0.3) + math.log(0.3)) / 2)
    assert torch.equal(head.answers(chances.log()), chances.log().exp())


# ---- training ----


def _population(recipe: Recipe, members: int = 2) -> Population:
    return Population(network, recipe, CrossEntropy(), lr=[1e-2] * members, classes=ENCODER.size)


def test_codes_train_as_their_distributions_do() -> None:
    x = codes(12)
    hot = F.one_hot(x[:, 1:], ENCODER.size).float()
    found = []
    for targets in (x[:, 1:, None], hot):
        population = _population(Recipe(LabelSmoothing(0.2)))
        terms = population.train(Rows(x, targets), 3, 4)
        found.append((terms["data"], population.state.flat.data))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_a_member_of_a_population_equals_the_same_network_trained_alone() -> None:
    x = codes(12)
    recipe = Recipe(LockedDropout(0.3, input_p=0.2), RecurrentDropConnect(0.3), TemporalPenalty(1.0, 0.5))
    both, alone = _population(recipe), _population(recipe, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that members run one after another is by choice, and nothing to warn of
        for population in (both, alone):
            population.train(Rows(x, x[:, 1:, None]), 3, 4)
    torch.testing.assert_close(both.state.flat.data[0], alone.state.flat.data[0], rtol=1e-5, atol=1e-6)
    assert not torch.equal(both.state.flat.data[0], both.state.flat.data[1])


@pytest.mark.parametrize("kind", TEXT_NETWORKS)
def test_every_part_of_a_text_study_finds_its_place_in_the_network(kind: str) -> None:
    space = Space(choices=TextDesign(network=kind).choices)
    for name in space.names:
        receipt = Recipe(space.choices.parts[name]).explain(network(kind))
        assert "NOTHING" not in receipt, receipt
    assert set(space.choices.ranges) == set(space.searched(space.names))
    assert len(space.portfolio(0)) == 5
