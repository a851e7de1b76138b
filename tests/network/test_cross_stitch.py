"""Cross-stitch units against a slow loop, and the identity that they begin near."""

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.select import roles_of, select
from poise.network import CrossStitch, MultiTask
from poise.network.cross_stitch import CrossStitchUnit

TASKS = ("a", "b", "c")


def trunk(width: int = 6, blocks: int = 2) -> nn.Sequential:
    layers = [nn.Sequential(nn.Linear(4 if i == 0 else width, width), nn.Tanh()) for i in range(blocks)]
    return nn.Sequential(*layers)


def network(own: float = 0.9) -> CrossStitch:
    torch.manual_seed(0)
    return CrossStitch({t: trunk() for t in TASKS}, {t: nn.Linear(6, 2) for t in TASKS}, own).double()


def slow(net: CrossStitch, x: Tensor) -> dict[str, Tensor]:
    """Equation 1 number by number."""
    values = dict.fromkeys(TASKS, x)
    for depth, unit in enumerate(net.units):
        said = {task: net.trunks[task][depth](values[task]) for task in TASKS}
        for i, task in enumerate(TASKS):
            values[task] = torch.zeros_like(said[task])
            for j, other in enumerate(TASKS):
                values[task] = values[task] + unit.alpha[i, j] * said[other]
    return {task: net.heads[task](values[task]) for task in TASKS}


@pytest.mark.usefixtures("seeded")
def test_it_is_the_slow_loop() -> None:
    net, x = network(0.7), torch.randn(5, 4, dtype=torch.float64)
    for task, expected in slow(net, x).items():
        torch.testing.assert_close(net(x)[task], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("seeded")
def test_keeping_all_of_ones_own_is_a_network_for_each_task() -> None:
    net, x = network(own=1.0), torch.randn(5, 4, dtype=torch.float64)
    for task in TASKS:
        alone = MultiTask(net.trunks[task], {task: net.heads[task]})
        assert torch.equal(net(x)[task], alone(x)[task])


def test_a_unit_begins_near_the_identity_with_rows_that_sum_to_one() -> None:
    alpha = CrossStitchUnit(3, own=0.9).alpha
    assert alpha.diagonal().tolist() == pytest.approx([0.9] * 3)
    assert alpha.sum(1).tolist() == pytest.approx([1.0] * 3)


@pytest.mark.usefixtures("seeded")
def test_a_task_teaches_the_other_trunks_through_the_units() -> None:
    net, x = network(), torch.randn(5, 4, dtype=torch.float64)
    net(x)["a"].sum().backward()
    assert float(net.trunks["b"][0][0].weight.grad.abs().sum()) > 0
    assert net.heads["b"].weight.grad is None


@pytest.mark.usefixtures("seeded")
def test_the_mixtures_are_learned_but_are_not_weights_to_decay() -> None:
    roles = roles_of(network())
    assert roles["units.0.alpha"].kind == "norm"
    assert not [name for name in select(roles, "weights") if "alpha" in name]


@pytest.mark.usefixtures("seeded")
def test_members_of_a_population_equal_themselves_alone() -> None:
    nets, x = [network(0.9), network(0.5)], torch.randn(5, 4, dtype=torch.float64)
    params, buffers = torch.func.stack_module_state(nets)  # type: ignore[arg-type]
    mapped = torch.vmap(lambda p, b: torch.func.functional_call(nets[0], (p, b), (x,)))(params, buffers)
    for place, net in enumerate(nets):
        torch.testing.assert_close(mapped["c"][place], net(x)["c"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("own", [-0.1, 1.1, float("nan")])
def test_a_share_outside_its_range_is_refused(own: float) -> None:
    with pytest.raises(ArgumentError, match=r"`CrossStitchUnit` must have at least 2 trunks and `own` in \[0, 1\]"):
        CrossStitchUnit(2, own)


def test_one_trunk_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least 2 trunks"):
        CrossStitch({"a": trunk()}, {"a": nn.Linear(6, 1)})


@pytest.mark.parametrize("other", [trunk(width=7), trunk(blocks=3), nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6))])
def test_trunks_of_another_structure_are_refused(other: nn.Sequential) -> None:
    with pytest.raises(ArgumentError, match=r"`CrossStitch.trunks` must have equal blocks; got .* for 'b'\. Build"):
        CrossStitch({"a": trunk(), "b": other}, {"a": nn.Linear(6, 1), "b": nn.Linear(6, 1)})


def test_trunks_of_other_tasks_than_the_heads_are_refused() -> None:
    with pytest.raises(
        ArgumentError, match=r"`CrossStitch.trunks` must have the tasks of the heads, \['a', 'b'\]; got"
    ):
        CrossStitch({"a": trunk(), "c": trunk()}, {"a": nn.Linear(6, 1), "b": nn.Linear(6, 1)})
