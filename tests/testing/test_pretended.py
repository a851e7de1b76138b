"""The pretended device: it computes what the CPU does, and catches what was left behind."""

import copy

import pytest
import torch
from torch import nn

from poise.testing.pretended import PRETENDED, pretended


def test_a_network_learns_on_it_as_on_the_cpu() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(8, 3)
    losses = []
    with pretended() as device:
        for where in ("cpu", device):
            own = copy.deepcopy(network).to(where)
            optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
            for _ in range(3):
                optimizer.zero_grad()
                loss = own(x.to(where)).square().mean()
                loss.backward()
                optimizer.step()
            assert loss.device == torch.device(where)
            losses.append(loss.item())
    assert losses[0] == losses[1] > 0


def test_views_share_values_and_members_are_mapped() -> None:
    with pretended() as device:
        x = torch.zeros(2, 3, device=device)
        x[0].add_(1)
        x[:, 2] = 5
        assert x.tolist() == [[1, 1, 5], [0, 0, 5]]
        doubled = torch.vmap(lambda row: 2 * row)(x)
        assert doubled.device == torch.device(PRETENDED)
        assert torch.equal(doubled.cpu(), torch.tensor([[2.0, 2, 10], [0, 0, 10]]))


def test_tensors_of_two_devices_and_numpys_view_raise() -> None:
    with pretended() as device:
        x = torch.tensor([1.0, 2.0], device=device)
        with pytest.raises(RuntimeError, match="expected all tensors to be on one device"):
            x + torch.ones(2)
        with pytest.raises(RuntimeError, match="numpy"):
            x.numpy()
        with pytest.raises(RuntimeError, match="expected all tensors to be on one device"):
            torch.ones(2)[torch.tensor([0, 1], device=device)]
        assert x[torch.tensor([1, 0])].tolist() == [2, 1]
        assert (x + torch.tensor(1.0)).tolist() == [2, 3]  # a number has no device
        assert x.cpu().numpy().tolist() == [1, 2]


def test_it_ends_with_its_block() -> None:
    with pretended() as device:
        pass
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.ones(2, device=device)
