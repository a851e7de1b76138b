"""Roles come from the module that owns a parameter; ties, frozen layers and reuse are seen once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from poise.core.errors import ArgumentError
from poise.core.select import SELECTIONS, Role, check_selection, output_layer, roles_of, select


def kinds(module: nn.Module) -> dict[str, str]:
    return {name: role.kind for name, role in roles_of(module).items()}


def test_a_role_for_each_owner_type() -> None:
    module = nn.ModuleDict(
        {
            "embedding": nn.Embedding(4, 3),
            "bag": nn.EmbeddingBag(4, 3),
            "linear": nn.Linear(3, 2),
            "conv": nn.Conv2d(1, 2, 3),
            "batch": nn.BatchNorm1d(2),
            "layer": nn.LayerNorm(2),
            "matrix_layer": nn.LayerNorm((2, 2)),
            "group": nn.GroupNorm(1, 2),
            "rms": nn.RMSNorm(2),
            "instance": nn.InstanceNorm1d(2, affine=True),
            "prelu": nn.PReLU(),
        }
    )
    found = kinds(module)
    assert {n.split(".")[0] for n, kind in found.items() if kind == "norm"} == {
        "batch", "layer", "matrix_layer", "group", "rms", "instance",
    }  # fmt: skip
    assert {n for n, kind in found.items() if kind == "embedding"} == {"embedding.weight", "bag.weight"}
    assert {n for n, kind in found.items() if kind == "weight"} == {"linear.weight", "conv.weight"}
    assert {n for n, kind in found.items() if kind == "bias"} == {"linear.bias", "conv.bias", "prelu.weight"}


def test_tied_parameters_appear_once_under_their_first_name() -> None:
    module = nn.ModuleDict({"encode": nn.Linear(3, 3), "decode": nn.Linear(3, 3, bias=False)})
    module["decode"].weight = module["encode"].weight
    assert kinds(module) == {"encode.weight": "weight", "encode.bias": "bias"}
    assert list(roles_of(module)) == [name for name, _ in module.named_parameters()]


def test_a_reused_module_appears_once() -> None:
    shared = nn.Linear(3, 3)
    assert list(roles_of(nn.Sequential(shared, nn.ReLU(), shared))) == ["0.weight", "0.bias"]


def test_frozen_parameters_have_no_role() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    module[1].weight.requires_grad_(False)
    assert list(roles_of(module)) == ["0.weight", "0.bias", "1.bias"]


def test_the_layer_after_a_frozen_input_layer_does_not_read_the_columns() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    module[0].requires_grad_(False)
    assert not any(role.inputs for role in roles_of(module).values())


def test_the_first_weight_multiplies_the_inputs() -> None:
    module = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3), nn.Linear(3, 1))
    assert [name for name, role in roles_of(module).items() if role.inputs] == ["1.weight"]


def test_a_layer_that_declares_column_groups_is_the_input_layer() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    module[1].column_groups = [0, 0, 1]  # type: ignore[assignment]
    assert roles_of(module)["1.weight"] == Role("weight", inputs=True, column_groups=(0, 0, 1))
    assert not roles_of(module)["0.weight"].inputs


def test_a_module_may_declare_its_own_roles() -> None:
    class Own(nn.Module):
        parameter_roles = {"token": "embedding"}  # noqa: RUF012  # as a user would write it

        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(2, 2))

    assert kinds(Own()) == {"token": "embedding"}


ROLES = {
    "a": Role("weight", inputs=True),
    "b": Role("weight"),
    "c": Role("bias"),
    "d": Role("norm"),
    "e": Role("embedding"),
}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("weights", ("a", "b")),
        ("inputs", ("a",)),
        ("biases", ("c",)),
        ("norms", ("d",)),
        ("embeddings", ("e",)),
        ("all", ("a", "b", "c", "d", "e")),
        (("embeddings", "biases"), ("c", "e")),
    ],
)
def test_a_selection_names_its_parameters_in_the_modules_order(where: str, names: tuple[str, ...]) -> None:
    check_selection("Part", where)
    assert select(ROLES, where) == names


@pytest.mark.parametrize("where", ["weight", "", (), ("weights", "x"), None, 3, ["weights"], True], ids=repr)
def test_another_selection_is_refused(where: object) -> None:
    with pytest.raises(ArgumentError, match=rf"`Part.where` must be one of {', '.join(SELECTIONS)}, .*; got "):
        check_selection("Part", where)


def test_complex_parameters_are_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"must hold real numbers; got 0.weight of torch.complex64"):
        roles_of(nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)))


def test_the_output_layer_is_the_last_that_owns_a_weight() -> None:
    body = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3))
    named = nn.ModuleDict({"body": body, "head": nn.Linear(3, 1), "norm": nn.LayerNorm(1)})
    assert output_layer(roles_of(named)) == ("head.weight", "head.bias")
    assert output_layer(roles_of(nn.Linear(2, 1))) == ("weight", "bias")
    assert output_layer(roles_of(nn.LayerNorm(2))) == ()


def test_a_head_that_is_frozen_or_left_out_is_still_the_output_layer() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    roles = roles_of(model)
    assert output_layer(roles) == ("4.weight", "4.bias")
    assert output_layer({name: role for name, role in roles.items() if not name.startswith("4.")}) == ()
    model[4].requires_grad_(False)
    assert output_layer(roles_of(model)) == ()
