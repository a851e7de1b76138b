"""Hard sharing against the trunk and the heads called by hand."""

import copy

import pytest
import torch
from torch import nn

from poise.core.errors import ArgumentError
from poise.core.select import roles_of
from poise.network import MultiTask


def model() -> MultiTask:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    return MultiTask(trunk, {"age": nn.Linear(8, 1), "species": nn.Linear(8, 3)})


@pytest.mark.usefixtures("seeded")
def test_each_output_is_its_head_on_the_trunk() -> None:
    net, x = model(), torch.randn(5, 4)
    outputs = net(x)
    assert list(outputs) == ["age", "species"]
    for task, head in net.heads.items():
        assert torch.equal(outputs[task], head(net.trunk(x)))


@pytest.mark.usefixtures("seeded")
def test_the_trunk_runs_once_for_all_tasks() -> None:
    net, calls = model(), []
    net.trunk.register_forward_hook(lambda *_: calls.append(1))
    net(torch.randn(5, 4))
    assert len(calls) == 1


@pytest.mark.usefixtures("seeded")
def test_the_trunks_gradient_is_the_sum_of_the_tasks_gradients() -> None:
    net, x = model().double(), torch.randn(5, 4, dtype=torch.float64)
    trunk = list(net.trunk.parameters())
    each = [torch.autograd.grad(net(x)[task].square().sum(), trunk) for task in ("age", "species")]
    total = torch.autograd.grad(sum(o.square().sum() for o in net(x).values()), trunk)
    for one, other, both in zip(*each, total, strict=True):
        torch.testing.assert_close(one + other, both, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("seeded")
def test_it_copies_saves_and_loads() -> None:
    net, x = model(), torch.randn(5, 4)
    other = copy.deepcopy(net)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x)["species"], net(x)["species"])


@pytest.mark.usefixtures("seeded")
def test_modules_have_paths_that_say_what_they_are() -> None:
    assert list(roles_of(model()))[-2:] == ["heads.species.weight", "heads.species.bias"]


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "items", "forward", 3])
def test_names_that_no_module_may_have_are_refused(name: object) -> None:
    with pytest.raises(ArgumentError, match=r"`MultiTask.heads` must have tasks named by text"):
        MultiTask(nn.Identity(), {name: nn.Linear(1, 1)})  # type: ignore[dict-item]


def test_no_task_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`MultiTask.heads` must have at least one task; got none\. Write"):
        MultiTask(nn.Identity(), {})
