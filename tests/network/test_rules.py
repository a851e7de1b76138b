"""Each rule finds its sites by type or structure, and each part places its layers by the rule that `where` names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from poise import Recipe
from poise.core.errors import ArgumentError
from poise.core.kinds import inserted_layers
from poise.network import BatchNorm, DropConnect, Dropout, HiddenNoise, LayerNorm, WeightNoise
from poise.network.rules import RULES, WEIGHT_RULES
from poise.testing import check_regularizer
from poise.testing.residual_blocks import BasicBlock, Dynamic, PreNorm

ONE = HiddenNoise(1.0)


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(9, 4), nn.LSTM(4, 4, batch_first=True)
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        mixed, _ = self.attention(states, states, states)
        out: Tensor = self.head(mixed.relu())
        return out


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 4, 3), nn.SELU(), BasicBlock(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)
    )


def sites(part: Any, model: nn.Module) -> list[str]:
    part.network(model)
    return [layer.label.partition("/")[2] for _, layer in inserted_layers(model)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("inputs", [""]),
        ("activations", ["1", "2.relu", "5"]),
        ("hidden layers", ["0", "2.conv1", "2.conv2", "4"]),
        ("weight layers", ["0", "2.conv1", "2.conv2", "4", "6"]),
        ("first layer", ["0"]),
        ("convolutions", ["0", "2.conv1", "2.conv2"]),
        ("residual branches", ["2.bn2"]),
        ("outputs", [""]),
    ],
)
def test_a_rule_finds_its_sites_in_an_image_network(where: str, expected: list[str]) -> None:
    assert sites(Dropout(0.5, where=where), network()) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [("embeddings", ["embedding"]), ("recurrent layers", ["lstm"]), ("attention", ["attention"])],
)
def test_a_rule_finds_its_sites_in_a_text_network(where: str, expected: list[str]) -> None:
    assert sites(Dropout(0.5, where=where), Text()) == expected


@pytest.mark.parametrize("where", sorted(RULES))
def test_a_layer_of_every_rule_acts_and_is_the_identity_at_neutral(where: str) -> None:
    text = where in ("embeddings", "recurrent layers", "attention")
    build, x = (Text, torch.arange(6).reshape(2, 3)) if text else (network, torch.randn(3, 4, 6, 6))
    for p, same in ((0.0, True), (0.9, False)):
        torch.manual_seed(0)
        bare = build()
        expected = bare(x)
        assert torch.equal(Dropout(p, where=where).network(bare)(x), expected) is same


def test_the_layer_edits_what_comes_in_or_goes_out() -> None:
    x = torch.ones(1000, 1)
    model = nn.Sequential(nn.Identity())
    noisy = HiddenNoise(1.0, where="inputs").network(model)
    seen: list[Tensor] = []
    model[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert torch.equal(noisy(x), seen[0])
    assert float((seen[0] - x).std()) == pytest.approx(1.0, abs=0.1)
    out = HiddenNoise(1.0, where="outputs").network(nn.Sequential(nn.Identity()))(x)
    assert float((out - x).std()) == pytest.approx(1.0, abs=0.1)


class RunsItsChildren(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        for child in self.children():
            x = child(x)
        return x


@pytest.mark.parametrize("build", [RunsItsChildren, lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh())])
def test_a_layer_in_a_host_that_runs_its_children_acts_once(build: Any) -> None:
    model, x = build(), torch.ones(500, 2)
    expected = model(x)
    Dropout(0.5, where="outputs").network(model)
    found = model(x)
    kept = found != 0
    assert torch.equal(found[kept], 2 * expected[kept])
    assert float(kept.float().mean()) == pytest.approx(0.5, abs=0.07)


def test_only_the_output_of_a_recurrent_layer_is_edited_packed_or_not() -> None:
    lstm = nn.LSTM(3, 4, batch_first=True)
    x = torch.randn(2, 5, 3)
    out, (h, c) = lstm(x)
    packed = pack_padded_sequence(x, torch.tensor([5, 3]), batch_first=True)
    data = lstm(packed)[0].data
    Dropout(1.0, where="recurrent layers").network(lstm)
    edited, (h1, c1) = lstm(x)
    assert torch.equal(edited, torch.zeros_like(out))
    assert torch.equal(h, h1)
    assert torch.equal(c, c1)
    assert torch.equal(lstm(packed)[0].data, torch.zeros_like(data))


def test_tokens_and_keywords_are_no_input_for_a_layer_and_the_message_says_what_to_do() -> None:
    model = Dropout(0.5, where="inputs").network(Text())
    with pytest.raises(ArgumentError, match=r'got torch\.int64\. For tokens, place them at where="embeddings"'):
        model(torch.arange(6).reshape(2, 3))
    with pytest.raises(ArgumentError, match="got keywords only"):
        model(tokens=torch.arange(6).reshape(2, 3))


def test_a_host_that_returns_neither_tensor_nor_tuple_is_refused() -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": x}

    with pytest.raises(ArgumentError, match="must meet a tensor, or a tuple beginning with one; got dict"):
        Dropout(0.5, where="outputs").network(Named())(torch.ones(2))


@pytest.mark.parametrize("where", ["activation", "", None, ("inputs", "outputs"), 3])
@pytest.mark.parametrize("kind", [Dropout, BatchNorm, WeightNoise])
def test_an_unknown_rule_is_refused_with_the_list(kind: Any, where: Any) -> None:
    listed = ", ".join(RULES if kind is Dropout else WEIGHT_RULES)
    with pytest.raises(ArgumentError, match=rf"`{kind.__name__}\.where` must be one of {listed}; got"):
        kind(where=where)


def test_parts_that_need_a_weight_refuse_other_sites() -> None:
    for kind in (BatchNorm, LayerNorm, DropConnect, WeightNoise):
        with pytest.raises(
            ArgumentError, match="must be one of hidden layers, weight layers, first layer, convolutions; got 'inputs'"
        ):
            kind(where="inputs")


@pytest.mark.parametrize("part", [Dropout(0.3, where="hidden layers"), HiddenNoise(0.5, where="outputs"),
                                  DropConnect(0.3, where="weight layers"), LayerNorm(where="weight layers"),
                                  Dropout(0.3, where="inputs")])  # fmt: skip
def test_the_battery_passes_at_other_sites(part: Any) -> None:
    check_regularizer(part)


def test_the_rule_is_a_part_of_the_recipe_on_file() -> None:
    recipe = Recipe(Dropout(0.2, where="residual branches"))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert "where: residual branches" in recipe.to_yaml()
    assert repr(recipe).startswith("Recipe(\n    Dropout(where='residual branches', p=0.2),")
    assert Recipe.from_yaml("format: 1\nparts: {dropout: {p: 0.2}}") == Recipe(Dropout(0.2))


def test_the_receipt_names_the_sites_and_what_could_not_be_read() -> None:
    recipe = Recipe(Dropout(0.2, where="residual branches"))
    assert "touches at the end of every residual branch" in recipe.explain()
    text = recipe.explain(nn.Sequential(Dynamic(), PreNorm()))
    assert "touches 2 sites (1.attention, 1.down)" in text
    assert "0 (Dynamic) could not be traced" in text
