"""Attention dropout: torch's own dropout on the masks drawn, in every way that torch's attention can be called."""

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.network import AttentionDropout
from poise.network.attention_dropout import DroppedAttention
from poise.testing import check_regularizer
from poise.testing.oracles import mean_p_value, rate_p_value

OPTIONS = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"kdim": 6, "vdim": 10},
    {"kdim": 6, "vdim": 10, "batch_first": True, "add_bias_kv": True, "add_zero_attn": True},
]
pytestmark = pytest.mark.usefixtures("seeded")


def attention(p: float, **options: object) -> nn.MultiheadAttention:
    model = AttentionDropout(p).network(nn.MultiheadAttention(8, 2, **options))  # type: ignore[arg-type]
    assert isinstance(model, nn.MultiheadAttention)
    return model.double()


def sequences(model: nn.MultiheadAttention, rows: int = 3) -> list[Tensor]:
    sizes = [(4, model.embed_dim), (5, model.kdim), (5, model.vdim)]
    made = [torch.randn(rows, steps, size, dtype=torch.float64) for steps, size in sizes]
    return made if model.batch_first else [x.transpose(0, 1) for x in made]


def test_battery() -> None:
    check_regularizer(AttentionDropout(0.3))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_is_torchs_dropout_formula_on_the_masks_drawn(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = attention(0.3, **options)
    inputs = sequences(model)
    output, weights = model(*inputs, average_attn_weights=False)
    rng = Rng(model.poise_attention_dropout.key, f"{model.poise_attention_dropout.label}/0")
    kept = rng.keep("keep", tuple(weights.shape), 0.3)
    scale = 1 / (1 - float(torch.tensor(0.3)))

    def drawn(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return x * kept.reshape(x.shape) * scale

    # torch itself, its sampler exchanged for our masks.
    monkeypatch.setattr(F, "dropout", drawn)
    plain = nn.MultiheadAttention(8, 2, dropout=0.3, **options).double()  # type: ignore[arg-type]
    plain.load_state_dict(model.state_dict())
    expected, expected_weights = plain(*inputs, average_attn_weights=False)
    torch.testing.assert_close(weights, expected_weights, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    assert (weights == 0).any()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weights_asked_for_or_not_averaged_or_not_the_output_is_one(options: dict[str, object]) -> None:
    model = attention(0.3, **options)
    inputs, outputs, weights = sequences(model), [], []
    for need, average in ((True, True), (True, False), (False, True)):
        model.poise_attention_dropout.calls = 0
        output, weight = model(*inputs, need_weights=need, average_attn_weights=average)
        outputs.append(output)
        weights.append(weight)
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], rtol=1e-12, atol=1e-12)
    assert torch.equal(weights[0], weights[1].mean(1))
    assert weights[2] is None


def test_masks_of_padding_and_causality_hold() -> None:
    model = attention(0.3, batch_first=True)
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    padding = torch.tensor([[False] * 4, [False, False, False, True], [False, False, True, True]])
    causal = torch.ones(4, 4).triu(1).bool()
    for need in (True, False):
        model.poise_attention_dropout.calls = 0
        output, weights = model(x, x, x, padding, need, causal, is_causal=True, average_attn_weights=False)
        if need:
            assert not weights[padding[:, None, None].expand_as(weights)].any()
            assert torch.equal(weights, weights.tril())
            first = output
        torch.testing.assert_close(output, first, rtol=1e-12, atol=1e-12)


def test_an_unbatched_sequence_is_a_batch_of_one() -> None:
    model = attention(0.3, batch_first=True)
    inputs = sequences(model, 1)
    batched, _ = model(*inputs)
    model.poise_attention_dropout.calls = 0
    single, _ = model(*[x[0] for x in inputs])
    torch.testing.assert_close(single, batched[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_rate_mean_and_variance_are_those_of_the_law(p: float) -> None:
    model = AttentionDropout(p).network(nn.MultiheadAttention(2, 2, bias=False, batch_first=True))
    x = torch.zeros(500, 100, 2)
    _, weights = model(x, x[:, :10], x[:, :10], average_attn_weights=False)
    ratio = weights.detach() * 10  # equal weights before the mask
    assert ratio.numel() == 1_000_000
    assert rate_p_value(ratio == 0, p) > 1e-6
    assert mean_p_value(ratio, 1.0, math.sqrt(p / (1 - p))) > 1e-6
    assert abs(float(ratio.var()) - p / (1 - p)) < 0.01
    dropped = ratio == 0
    for both in (dropped[1:] & dropped[:-1], dropped[:, 0] & dropped[:, 1], dropped[..., 1:] & dropped[..., :-1]):
        assert rate_p_value(both, p * p) > 1e-6


def test_wrong_samplers_are_caught() -> None:
    p, x = 0.1, torch.zeros(500, 100, 2)
    torchs = nn.MultiheadAttention(2, 2, bias=False, batch_first=True)
    one_mask_for_both_heads = torch.rand(500, 1, 100, 10).expand(500, 2, 100, 10) < p
    assert rate_p_value(one_mask_for_both_heads[:, 0] & one_mask_for_both_heads[:, 1], p * p) < 1e-6
    before_the_softmax = torch.softmax(
        torch.zeros(500, 2, 100, 10).masked_fill(torch.rand(500, 2, 100, 10) < p, -math.inf), -1
    )
    ratio = before_the_softmax * 10
    assert abs(float(ratio.var()) - p / (1 - p)) > 0.01  # weights renormalised: another law
    _, plain = torchs(x, x[:, :10], x[:, :10], average_attn_weights=False)
    assert rate_p_value(plain * 10 == 0, p) < 1e-6


@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_layer_is_torchs_own_at_neutral_and_in_evaluation_to_the_bit(norm_first: bool) -> None:
    plain = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=norm_first)
    x = torch.randn(3, 5, 8)
    stack = nn.Sequential(copy.deepcopy(plain), nn.Identity())
    model = AttentionDropout(0.0, name="neutral").network(stack)
    assert torch.equal(model(x), plain(x))
    model = AttentionDropout(0.5).network(stack)
    assert not torch.equal(model(x), plain(x))
    assert torch.equal(model.eval()(x), plain.eval()(x))
    with torch.no_grad():  # torch's fast path, which hooks would close
        assert torch.equal(model(x), plain(x))


def test_encoder_and_decoder_stacks_are_sites() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    found = [path for path, _ in AttentionDropout().find(model)]
    assert found == ["encoder.layers.0.self_attn", "decoder.layers.0.self_attn", "decoder.layers.0.multihead_attn"]
    x = torch.randn(4, 3, 8)
    assert AttentionDropout(0.5).network(model)(x, x).shape == (4, 3, 8)


def test_p_one_drops_every_weight_exactly() -> None:
    model = attention(1.0)
    output, weights = model(*sequences(model))
    assert torch.equal(weights, torch.zeros_like(weights))
    assert torch.equal(output, model.out_proj.bias.expand_as(output))


def test_gradients_are_right() -> None:
    model = attention(0.5, batch_first=True)
    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)

    def outputs(x: Tensor, weight: Tensor) -> Tensor:
        model.poise_attention_dropout.calls = 0
        seen: Tensor = torch.func.functional_call(model, {"in_proj_weight": weight}, (x, x, x))[0]
        return seen

    assert torch.autograd.gradcheck(outputs, (x, model.in_proj_weight.detach().clone().requires_grad_()))


def test_two_parts_act_both() -> None:
    model = AttentionDropout(1.0, name="second").network(AttentionDropout(0.0).network(nn.MultiheadAttention(8, 2)))
    x = torch.randn(3, 1, 8)
    _, weights = model(x, x, x)
    assert torch.equal(weights, torch.zeros_like(weights))


def test_state_copies_and_files_are_those_of_the_bare_attention() -> None:
    plain = nn.MultiheadAttention(8, 2)
    model = AttentionDropout(0.5).network(copy.deepcopy(plain))
    assert isinstance(model, DroppedAttention)
    assert list(model.state_dict()) == list(plain.state_dict())
    x = torch.randn(3, 1, 8)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin.poise_attention_dropout.p.fill_(1.0)
        assert torch.equal(twin(x, x, x)[1], torch.zeros(1, 3, 3))
    assert model(x, x, x)[1].any()


def test_a_plain_softmax_in_front_of_a_weight_is_attention_and_the_last_is_not() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1), nn.Linear(4, 2), nn.Softmax(-1))
    x = torch.randn(5, 3)
    expected = model[1](model[0](x))
    model = AttentionDropout(0.5).network(model)
    weights = model[1](model[0](x))
    assert torch.equal(weights, torch.where(weights == 0, 0.0, 2 * expected))
    assert (weights == 0).any()
    torch.testing.assert_close(model(x).sum(-1), torch.ones(5))
    assert torch.equal(model.eval()[:2](x), expected)


def test_members_are_dropped_each_at_its_own_rate_as_they_would_be_alone(population) -> None:  # type: ignore[no-untyped-def]
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.attention(x, x, x)[0]
            return output

    model = AttentionDropout(0.5).network(Attention()).double()
    x, p = torch.randn(3, 4, 5, 8, dtype=torch.float64), torch.tensor([0.0, 0.5, 1.0])
    out, _, _ = population(model, x, p=p)
    for member in range(3):
        model.attention.poise_attention_dropout.key.copy_(key(0, member))
        model.attention.poise_attention_dropout.p.copy_(p[member])
        torch.testing.assert_close(out[member], model(x[member]), rtol=1e-12, atol=1e-12)


def test_an_attention_with_a_forward_of_its_own_is_refused_and_the_model_is_left_alone() -> None:
    class Own(nn.MultiheadAttention):
        pass

    model = nn.Sequential(nn.MultiheadAttention(8, 2), Own(8, 2))
    with pytest.raises(ArgumentError, match=r"torch's own nn\.MultiheadAttention; got Own in '1'"):
        AttentionDropout(0.5).network(model)
    assert type(model[0]) is nn.MultiheadAttention
