"""What the four kinds make of one small method."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise import L1, L2, Dropout, Mixup, WeightNoise
from poise.core.context import Batch, Context
from poise.core.kinds import Inserted, Penalty, inserted_layers, summed
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.core.select import Role

PARAMS = {"w": torch.tensor([[3.0, -4.0]], requires_grad=True), "b": torch.tensor([2.0], requires_grad=True)}
ROLES = {"w": Role("weight", inputs=True), "b": Role("bias")}


def context(**facts: Any) -> Context:
    return replace(Context(0, Rng(key(0)), params=PARAMS, roles=ROLES), **facts)


def test_a_sum_of_nothing_is_zero_and_of_halves_is_a_float() -> None:
    assert summed([]).tolist() == 0.0
    halves = [torch.tensor(60000.0, dtype=torch.float16)] * 4
    assert summed(halves).tolist() == 240000.0
    assert summed([torch.tensor(0.1, dtype=torch.float64)]).dtype == torch.float64


def test_a_penalty_sees_the_selected_parameters_only() -> None:
    terms, memory = L2(0.5, where="biases").objective({"data": torch.tensor(1.0)}, {}, context())
    assert float(terms["l2"].detach()) == pytest.approx(0.5 * 4 / 2)
    assert memory == {}
    terms["l2"].backward()
    assert PARAMS["w"].grad is None
    assert PARAMS["b"].grad is not None


def test_a_penalty_that_selects_nothing_adds_zero() -> None:
    terms, _ = L2(0.5, where="norms").objective({"data": torch.tensor(1.0)}, {}, context())
    assert float(terms["l2"]) == 0.0


def test_a_proximal_reports_without_gradient_and_steps_by_the_scale_of_each_weight() -> None:
    part = L1(1.0)
    terms, _ = part.objective({"data": torch.tensor(1.0)}, {}, context())
    assert float(terms["l1"]) == 7.0
    assert not terms["l1"].requires_grad
    params: dict[str, Tensor] = {name: p.detach() for name, p in PARAMS.items()}
    after, _ = part.update(params, {}, context(scale={"w": torch.tensor([[1.0, 5.0]]), "b": torch.tensor([1.0])}))
    assert after["w"].tolist() == [[2.0, 0.0]]
    assert after["b"] is params["b"]


def test_a_transform_is_its_draw_applied() -> None:
    batch = Batch(torch.arange(6.0).reshape(3, 2), torch.eye(3))
    part, ctx = Mixup(1.0), context()
    whole, _ = part.batch(batch, {}, ctx)
    again = part.apply(batch, part.draw(ctx.rng, batch, ctx), ctx)
    assert torch.equal(whole.inputs, again.inputs)
    assert torch.equal(whole.targets, again.targets)


def network() -> nn.Module:
    shared = nn.ReLU()
    return nn.Sequential(nn.Linear(4, 4), shared, nn.Linear(4, 4), shared)


def test_inserted_layers_carry_dials_and_key_outside_the_state() -> None:
    module = Dropout(0.25).network(network())
    ((path, layer),) = inserted_layers(module)
    assert path == "1.poise_dropout"
    assert float(layer.p) == 0.25  # type: ignore[arg-type]
    assert layer.label == "dropout/1"
    assert module.state_dict().keys() == network().state_dict().keys()


def test_a_reused_layer_draws_anew_at_each_call_and_the_same_at_each_pass() -> None:
    module = Dropout(0.5).network(nn.Sequential(*[nn.ReLU()] * 2))
    x = torch.ones(1000)
    first = module(x)
    assert torch.equal(first, module(x))
    assert float((first > 0).float().mean()) == pytest.approx(0.25, abs=0.06), "both calls dropped the same units"


def test_the_count_of_calls_restarts_in_a_copy_too() -> None:
    module = Dropout(0.5).network(network())
    twin = copy.deepcopy(module)
    x = torch.ones(7, 4)
    assert torch.equal(module(x), twin(x))
    assert torch.equal(twin(x), module(x))


def test_a_layer_is_made_where_the_weights_are() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).to("meta")
    for part in (Dropout(0.5), WeightNoise(0.1)):
        part.network(module)
    assert {layer.key.device.type for _, layer in inserted_layers(module)} == {"meta"}


def test_a_schedule_starts_at_its_first_value() -> None:
    from poise import Linear

    ((_, layer),) = inserted_layers(Dropout(Linear(0.5, 0.0, 10)).network(nn.Sequential(nn.ReLU())))
    assert float(layer.p) == 0.5  # type: ignore[arg-type]


def test_layers_of_two_parts_have_streams_of_their_own() -> None:
    module = nn.Sequential(nn.ReLU())
    for part in (Dropout(0.5), Dropout(0.5, name="again")):
        part.network(module)
    layers = [layer for _, layer in inserted_layers(module)]
    words = {tuple(layer.rng().words("keep", 2).tolist()) for layer in layers}
    assert len(words) == 2


def test_kinds_are_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Penalty()  # type: ignore[abstract]
    assert "penalty" not in Regularizer.registry


def test_a_kind_left_half_written_cannot_be_made() -> None:
    @dataclass(frozen=True)
    class Half(Penalty):
        pass

    del Regularizer.registry["half"]
    with pytest.raises(TypeError, match="penalty"):
        Half()  # type: ignore[abstract]


def test_inserted_is_a_module_with_a_generator_of_its_own_name() -> None:
    layer = Inserted(Dropout(0.1, name="mine"))
    assert repr(layer.rng()) == "Rng('mine/0')"
    assert repr(layer.rng()) == "Rng('mine/1')"
