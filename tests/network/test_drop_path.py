"""Stochastic depth: its law over rows, the linear rule over depth, and a slow twin that runs blocks row by row."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.kinds import inserted_layers
from poise.core.rng import Rng, key
from poise.network import DropPath
from poise.network.drop_path import DropPathLayer
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square
from poise.testing.residual_blocks import BasicBlock, Loop
from poise.testing.residual_networks import OneBranch, TwoBranches

N = 1_000_000
pytestmark = pytest.mark.usefixtures("seeded")


def layer(p: float, depth: float = 1.0) -> DropPathLayer:
    made = DropPath(p).layer(nn.Identity())
    assert isinstance(made, DropPathLayer)
    made.depth = depth
    return made


def rate_p_value(zeros: int, total: int, p: float) -> float:
    return chi_square([zeros, total - zeros], [p * total, (1 - p) * total])


def layers(model: nn.Module) -> list[DropPathLayer]:
    return [one for _, one in inserted_layers(model) if isinstance(one, DropPathLayer)]


def test_battery() -> None:
    check_regularizer(DropPath(0.3))
    check_regularizer(DropPath(0.3, depth="uniform"))


@pytest.mark.parametrize(("p", "depth"), [(0.2, 1.0), (0.5, 0.5), (0.9, 1.0)])
def test_rows_are_dropped_at_the_rate_and_keep_their_mean_and_variance(p: float, depth: float) -> None:
    y, rate = layer(p, depth)(torch.ones(N, 2)), p * depth
    assert torch.equal(y[:, 0], y[:, 1]), "a row is dropped whole"
    assert rate_p_value(int((y[:, 0] == 0).sum()), N, rate) > 1e-6
    deviation = math.sqrt(rate / (1 - rate))
    z = (float(y[:, 0].double().mean()) - 1) / (deviation / math.sqrt(N))
    assert math.erfc(abs(z) / math.sqrt(2)) > 1e-6
    assert float(y.max()) == pytest.approx(1 / (1 - rate), rel=1e-6)


def test_a_rate_half_a_point_off_and_one_mask_for_the_batch_are_caught() -> None:
    wrong = layer(0.205)(torch.ones(N, 1))
    assert rate_p_value(int((wrong == 0).sum()), N, 0.2) < 1e-6
    whole_batch = layer(0.5)(torch.ones(1, 1)).expand(N, 1)
    assert rate_p_value(int((whole_batch == 0).sum()), N, 0.5) < 1e-6


def test_the_rate_grows_linearly_with_depth_or_not_at_all() -> None:
    model = DropPath(0.4).network(nn.Sequential(*(OneBranch(3) for _ in range(4))))
    assert [one.settings()["p"] for one in layers(model)] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    model = DropPath(0.4, depth="uniform").network(nn.Sequential(OneBranch(3), OneBranch(3)))
    assert [one.settings()["p"] for one in layers(model)] == pytest.approx([0.4, 0.4])


def test_branches_of_one_sum_have_one_depth_and_drop_independently() -> None:
    model = DropPath(0.5).network(nn.Sequential(OneBranch(3), TwoBranches(3)))
    assert [one.depth for one in layers(model)] == [0.5, 1.0, 1.0]
    _, first, second = (one(torch.ones(N, 1)) == 0 for one in layers(model))
    assert rate_p_value(int((first & second).sum()), N, 0.25) > 1e-6


def _twin(model: nn.Module, x: Tensor, p: float, step: int) -> Tensor:
    """Huang et al.'s loop in float64: each row through each block, the branch computed only where it is kept."""
    blocks = list(model)  # type: ignore[call-overload]
    rows = []
    for row in range(len(x)):
        h = x[row : row + 1]
        for number, block in enumerate(blocks, start=1):
            rate = torch.tensor(p) * (number / len(blocks))
            keep = Rng(key(0, 0, step), f"drop_path/{number - 1}.branch/0").keep("keep", (len(x),), rate)
            h = h + block.branch[:3](h) / (1 - rate.double()) if bool(keep[row]) else h
        rows.append(h)
    return torch.cat(rows)


@pytest.mark.parametrize("step", range(4))
def test_a_network_equals_its_slow_twin(step: int) -> None:
    bare = nn.Sequential(*(OneBranch(3) for _ in range(5))).double()
    x = torch.randn(40, 3, dtype=torch.float64)
    model = DropPath(0.6).network(copy.deepcopy(bare))
    for one in layers(model):
        one.key = key(0, 0, step)
    torch.testing.assert_close(model(x), _twin(bare, x, 0.6, step), rtol=1e-6, atol=1e-6)  # 1 / (1 - p) in float32


def test_a_dropped_branch_gets_no_gradient_and_a_kept_one_that_of_its_scale() -> None:
    x = torch.ones(1000, 1, requires_grad=True)
    y = layer(0.4)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())


def test_evaluation_is_the_bare_network() -> None:
    bare = nn.Sequential(BasicBlock(), BasicBlock(4, 6)).eval()
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(DropPath(0.5).network(copy.deepcopy(bare))(x), bare(x))


def test_p_one_leaves_the_skip_connection_alone() -> None:
    model = DropPath(1.0, depth="uniform").network(Loop())
    x = torch.randn(6, 4)
    assert torch.equal(model(x), x)


@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer_layers_drop_rows_of_the_batch_whichever_dimension_they_are(batch_first: bool) -> None:
    encoder = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=batch_first)
    model = DropPath(1.0, depth="uniform").network(copy.deepcopy(encoder))
    dropped = model.dropout1(torch.ones(3, 7, 4))
    assert torch.equal(dropped, torch.zeros(3, 7, 4))
    (one, _) = layers(DropPath(0.5, depth="uniform").network(copy.deepcopy(encoder)))
    y = one(torch.ones(3, 7, 4))
    assert y.std(dim=1 - one.rows).max() == 0, "a row is dropped whole"
    assert one.rows == (0 if batch_first else 1)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
def test_torchs_fast_path_in_evaluation_gives_what_the_bare_encoder_gives(norm_first: bool, padded: bool) -> None:
    one = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=norm_first)
    bare = nn.TransformerEncoder(one, 2).eval()
    x = torch.randn(3, 5, 4)
    padding = torch.arange(5) >= torch.tensor([[5], [3], [2]]) if padded else None
    model = DropPath(0.9).network(copy.deepcopy(bare))
    with torch.no_grad():
        expected, found = bare(x, src_key_padding_mask=padding), model(x, src_key_padding_mask=padding)
    kept = slice(None) if padding is None else ~padding
    torch.testing.assert_close(found[kept], expected[kept], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", ["lin", "", None, 2])
def test_another_rule_over_depth_is_refused(depth: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`DropPath\.depth` must be one of linear, uniform; got"):
        DropPath(0.1, depth=depth)


def test_members_drop_independently_each_at_its_own_rate(population: Any) -> None:
    model = DropPath(0.5).network(OneBranch(1))
    model.branch[2] = nn.Identity()
    p = torch.tensor([0.1, 0.5, 0.5, 1.0])
    out, _, _ = population(model, torch.full((4, 250_000, 1), 2.0), p=p)
    dropped = out[..., 0] == 2.0
    for member in (0, 1, 2):
        assert rate_p_value(int(dropped[member].sum()), 250_000, float(p[member])) > 1e-6
    assert rate_p_value(int((dropped[1] & dropped[2]).sum()), 250_000, 0.25) > 1e-6
    assert bool(dropped[3].all())
