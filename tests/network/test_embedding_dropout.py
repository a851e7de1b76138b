"""Embedding dropout: whole words, for one forward pass, in the weight."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.rng import key
from poise.network import EmbeddingDropout
from poise.network.drop_connect import DropConnectLayer
from poise.network.embedding_dropout import EmbeddingDropoutLayer
from poise.testing import check_regularizer
from poise.testing.oracles import mean_p_value, rate_p_value

P = 0.2
pytestmark = pytest.mark.usefixtures("seeded")


def layer(p: float) -> EmbeddingDropoutLayer:
    made = EmbeddingDropout(p).layer(nn.Embedding(1, 1))
    assert isinstance(made, EmbeddingDropoutLayer)
    return made


def words(y: Tensor) -> Tensor:
    return (y == 0).all(1)


def test_battery() -> None:
    check_regularizer(EmbeddingDropout(0.3))


def test_rate_mean_and_variance_over_words_are_those_of_the_law() -> None:
    y = layer(P).edited(torch.ones(1_000_000, 2))
    assert rate_p_value(words(y), P) > 1e-6
    assert torch.equal(y[:, 0], y[:, 1])
    assert mean_p_value(y[:, 0], 1.0, math.sqrt(P / (1 - P))) > 1e-6
    assert abs(float(y[:, 0].var()) - P / (1 - P)) < 0.003


def test_wrong_samplers_are_caught() -> None:
    each_value = DropConnectLayer(EmbeddingDropout(P)).edited(torch.ones(1_000_000, 2))
    assert rate_p_value(words(each_value), P) < 1e-6
    half_a_point_off = layer(P + 0.005).edited(torch.ones(1_000_000, 2))
    assert rate_p_value(words(half_a_point_off), P) < 1e-6
    without_the_scale = (layer(P).edited(torch.ones(1_000_000, 1)) != 0).float()
    assert mean_p_value(without_the_scale, 1.0, math.sqrt(P / (1 - P))) < 1e-6


def test_a_dropped_word_is_gone_wherever_it_occurs_and_the_parameter_stays() -> None:
    plain = nn.Embedding(30, 4, padding_idx=0)
    model, text = EmbeddingDropout(0.5).network(copy.deepcopy(plain)), torch.randint(0, 30, (8, 50))
    y, x = model(text), plain(text)
    gone = (y == 0).all(-1)
    for word in range(1, 30):
        assert len(set(gone[text == word].tolist())) == 1
    assert torch.equal(y[~gone], 2 * x[~gone])
    assert 0.2 < float(gone.float().mean()) < 0.8
    assert torch.equal(model.weight, plain.weight)


def test_the_gradient_reaches_the_words_kept_scaled() -> None:
    model = EmbeddingDropout(0.5).network(nn.Embedding(30, 4))
    text = torch.arange(30)
    y = model(text)
    y.sum().backward()
    assert torch.equal(model.weight.grad, torch.where(y == 0, 0.0, 2.0))


def test_bags_of_words_are_sums_over_the_words_kept() -> None:
    bag = nn.EmbeddingBag(30, 4, mode="sum")
    single = nn.Embedding.from_pretrained(bag.weight.detach().clone(), freeze=False)
    text = torch.randint(0, 30, (8, 5))
    words_of, bags_of = EmbeddingDropout(0.5).network(single), EmbeddingDropout(0.5).network(bag)
    torch.testing.assert_close(bags_of(text), words_of(text).sum(1))


def test_p_one_is_exact_zero_also_for_infinities_and_p_zero_is_the_identity() -> None:
    weight = torch.tensor([[1.5, math.inf], [-math.inf, math.nan]])
    assert torch.equal(layer(1.0).edited(weight), torch.zeros(2, 2))
    assert torch.equal(layer(0.0).edited(weight[:1]), weight[:1])


def test_evaluation_is_the_bare_embedding() -> None:
    plain, text = nn.Embedding(30, 4), torch.arange(30)
    assert torch.equal(EmbeddingDropout(0.5).network(copy.deepcopy(plain)).eval()(text), plain(text))


def test_members_lose_words_as_they_would_alone(population) -> None:  # type: ignore[no-untyped-def]
    model = EmbeddingDropout(0.5).network(nn.Embedding(30, 4))
    text, p = torch.randint(0, 30, (3, 8)), torch.tensor([0.0, 0.5, 1.0])
    out, _, _ = population(model, text, p=p)
    for member in range(3):
        model.poise_embedding_dropout.key.copy_(key(0, member))
        model.poise_embedding_dropout.p.copy_(p[member])
        assert torch.equal(out[member], model(text[member]))


@pytest.mark.parametrize("option", [{"sparse": True}, {"max_norm": 1.0}])
def test_embeddings_that_edit_their_own_weight_are_refused_and_the_model_is_left_alone(
    option: dict[str, object],
) -> None:
    model = nn.Sequential(nn.Embedding(3, 2), nn.Embedding(3, 2, **option))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=rf"without `{next(iter(option))}`; got .* in '1'"):
        EmbeddingDropout(0.5).network(model)
    assert not list(model[0].children())
