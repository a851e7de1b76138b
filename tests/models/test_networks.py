"""The small networks: shapes, gradients everywhere, places where parts act, vmap, and what they are made of by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import (
    ArgumentError,
    AttentionDropout,
    Dropout,
    DropPath,
    EmbeddingDropout,
    LockedDropout,
    RecurrentDropConnect,
    insert,
)
from poise.core.select import roles_of
from poise.models import RecurrentNet, ResNet, SmallCnn, SmallTransformer
from poise.network.residual import unread

pytestmark = pytest.mark.usefixtures("seeded")

IMAGES, TOKENS = (4, 2, 9, 9), (4, 6)
NETS: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: SmallCnn(2, 3, width=4, depth=3),
    "resnet": lambda: ResNet(2, 3, width=4, blocks=2, norm="group"),
    "resnet without norms": lambda: ResNet(2, 3, width=4, blocks=1, norm="none"),
    "resnet with batch norm": lambda: ResNet(2, 3, width=4, blocks=1),
    "decoder": lambda: SmallTransformer(7, 3, length=8, width=8, heads=2),
    "encoder": lambda: SmallTransformer(7, 3, length=6, width=8, heads=2, causal=False),
    "shared decoder": lambda: SmallTransformer(7, 7, length=8, width=8, heads=2, depth=3, shared=True, tied=True),
    "lstm": lambda: RecurrentNet(7, 3, width=8, depth=2),
    "tied gru": lambda: RecurrentNet(7, 7, width=8, kind="gru", tied=True),
}
RELUS = ["stem.2", *(f"blocks.{b}.{own}" for b in range(6) for own in ("branch.2", "activation"))]


def inputs_of(name: str) -> Tensor:
    return torch.randn(IMAGES) if "net" in name or name == "cnn" else torch.randint(0, 7, TOKENS)


@pytest.mark.parametrize("name", NETS)
def test_shapes_and_gradients(name: str) -> None:
    model, x = NETS[name](), inputs_of(name)
    for p in model.parameters():
        p.data += 0.01  # else norms that begin at zero hide the branch before them
    out = model(x)
    outputs = 7 if "shared" in name or "tied" in name else 3
    assert out.shape == ((4, outputs) if x.dim() == 4 else (4, 6, outputs))
    out.square().sum().backward()
    without = [own for own, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert without == []


@pytest.mark.parametrize("name", [name for name in NETS if name not in ("lstm", "tied gru")])
def test_members_of_a_vmap_are_the_networks_alone(name: str) -> None:
    nets, x = [NETS[name]().eval() for _ in range(3)], inputs_of(name)
    params, buffers = torch.func.stack_module_state(nets)
    together = torch.vmap(lambda p, b: torch.func.functional_call(nets[0], (p, b), (x,)))(params, buffers)
    alone = torch.stack([net(x) for net in nets])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "part", "sites"),
    [
        ("resnet", DropPath(0.1), [f"blocks.{block}.branch" for block in range(6)]),
        ("resnet", Dropout(0.1), RELUS),
        ("cnn", Dropout(0.1), ["features.1", "features.4", "features.7"]),
        ("decoder", DropPath(0.1), [f"blocks.{b}.{own}" for b in range(2) for own in ("attention", "mlp")]),
        ("decoder", AttentionDropout(0.1), ["blocks.0.attention.softmax", "blocks.1.attention.softmax"]),
        ("decoder", EmbeddingDropout(0.1), ["embedding"]),
        ("shared decoder", DropPath(0.1), ["blocks.0.attention", "blocks.0.mlp"]),
        ("lstm", LockedDropout(0.1), ["layers.0", "layers.1"]),
        ("lstm", RecurrentDropConnect(0.1), ["layers.0", "layers.1"]),
        ("tied gru", EmbeddingDropout(0.1), ["embedding"]),
    ],
)  # fmt: skip
def test_parts_find_their_places_and_act_there(name: str, part: Any, sites: list[str]) -> None:
    model, x = NETS[name]().train(), inputs_of(name)
    assert unread(model) == []
    for p in model.parameters():
        p.data += 0.01
    before = model(x)
    assert [path for path, _ in part.find(model)] == sites
    insert(model, part.at({"p": 0.9}))
    assert not torch.equal(model(x), before)


@pytest.mark.parametrize("kind", ["decoder", "shared decoder"])
def test_a_decoder_does_not_look_ahead_and_an_encoder_does(kind: str) -> None:
    decoder, encoder = NETS[kind](), NETS["encoder"]()
    x = torch.randint(0, 7, TOKENS)
    later = x.clone()
    later[:, 3:] = (later[:, 3:] + 1) % 7
    assert torch.equal(decoder(x)[:, :3], decoder(later)[:, :3])
    assert not torch.allclose(encoder(x)[:, :3], encoder(later)[:, :3], atol=1e-3)


def test_attention_is_torchs() -> None:
    own = SmallTransformer(7, 3, length=6, width=8, heads=2).blocks[0].attention
    torchs = nn.MultiheadAttention(8, 2, batch_first=True)
    torchs.load_state_dict(
        {
            "in_proj_weight": own.queries_keys_values.weight,
            "in_proj_bias": own.queries_keys_values.bias,
            "out_proj.weight": own.output.weight,
            "out_proj.bias": own.output.bias,
        }
    )
    x, hidden = torch.randn(3, 6, 8), torch.ones(6, 6, dtype=torch.bool).triu(1)
    for mask in (None, hidden):
        assert torch.allclose(own(x, mask), torchs(x, x, x, attn_mask=mask)[0], atol=1e-6)


def test_a_shared_block_is_its_copies_with_summed_gradients() -> None:
    form: dict[str, Any] = {"length": 6, "width": 8, "heads": 2, "depth": 3}
    shared, apart = SmallTransformer(7, 3, shared=True, **form), SmallTransformer(7, 3, **form)
    state = shared.state_dict()
    copies = {own.replace("blocks.0", f"blocks.{b}"): value for own, value in state.items() for b in range(3)}
    apart.load_state_dict(copies)
    x = torch.randint(0, 7, TOKENS)
    for model in (shared, apart):
        model(x).square().sum().backward()
    assert torch.allclose(shared(x), apart(x))
    for name, p in shared.blocks[0].named_parameters():
        summed = sum(dict(block.named_parameters())[name].grad for block in apart.blocks)
        assert torch.allclose(p.grad, summed, atol=1e-4), name
    block = sum(p.numel() for p in shared.blocks.parameters())
    assert sum(p.numel() for p in apart.blocks.parameters()) == 3 * block


def test_resnet_20_has_the_papers_layers() -> None:
    model = ResNet(3, 10, width=16, blocks=3)
    branches = [m for block in model.blocks for m in block.branch if isinstance(m, nn.Conv2d)]
    assert len(branches) + 2 == 20  # with the stem and the head
    # The paper's 0.27 million, and two projections.
    assert sum(p.numel() for p in model.parameters()) == 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    x = torch.randn(1, 3, 32, 32)
    assert model.eval().blocks(model.stem(x)).shape == (1, 64, 8, 8)


def test_a_new_resnet_computes_its_shortcuts_only() -> None:
    block = ResNet(3, 10, width=4, blocks=1).eval().blocks[0]
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("tied", [False, True])
def test_a_recurrent_network_is_an_embedding_an_lstm_and_a_head(tied: bool) -> None:
    model = RecurrentNet(7, 7, width=8, tied=tied)
    x = torch.randint(0, 7, TOKENS)
    states, _ = model.layers[0](model.embedding.weight[x])
    matrix = model.embedding.weight if tied else model.head.weight
    assert torch.allclose(model(x), F.linear(states, matrix, model.head.bias))


def test_place_embeddings_are_embeddings() -> None:
    kinds = {name: role.kind for name, role in roles_of(NETS["shared decoder"]()).items()}
    assert {name for name, kind in kinds.items() if kind == "embedding"} == {"places", "embedding.weight"}
    assert kinds["head.bias"] == "bias"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SmallCnn(1, 0), "SmallCnn.outputs` must be an int >= 1; got 0"),
        (lambda: ResNet(1, 2, blocks=True), "ResNet.blocks` must be an int >= 1; got True"),
        (lambda: ResNet(1, 2, norm="layer"), "ResNet.norm` must be one of batch, group, none; got 'layer'"),
        (lambda: RecurrentNet(5, 5, kind="qrnn"), "RecurrentNet.kind` must be one of lstm, gru, rnn; got 'qrnn'"),
        (lambda: RecurrentNet(5, 4, tied=True), "must have the shape of embedding.weight"),
        (lambda: SmallTransformer(5, 5, length=4, width=10, heads=4), "heads` must divide the width 10; got 4"),
        (lambda: SmallTransformer(5, 5, length=4)(torch.zeros(1, 5, dtype=torch.int64)), "got 4 for 5"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
