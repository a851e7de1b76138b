"""What sharing does, measured: symmetry of convolutions, counts of tied weights, and the gap with paired seeds."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import ArgumentError, equivariance_error, sharing_report
from poise.diagnosis.sharing import independent_parameters
from poise.models import LocallyConnected2d, SmallCnn, SmallTransformer, unshared

pytestmark = pytest.mark.usefixtures("seeded")


def conv(mode: str = "circular", stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(2, 3, 3, stride, padding=1, padding_mode=mode)


@pytest.mark.parametrize("shift", [(0, 1), (1, 1), (3, -2)])
def test_a_circular_convolution_commutes_with_shifts_and_unshared_weights_do_not(shift: tuple[int, int]) -> None:
    x = torch.randn(4, 2, 8, 8)
    assert equivariance_error(conv(), x, shift) < 1e-6
    own = LocallyConnected2d(2, 3, 3, 8, padding=1, padding_mode="circular")
    assert equivariance_error(own, x, shift) > 0.5
    copied = LocallyConnected2d.from_conv(conv(), 8)
    assert equivariance_error(copied, x, shift) < 1e-6


def test_zero_padding_breaks_it_at_the_borders_only() -> None:
    x = torch.randn(4, 2, 8, 8)
    assert 0.01 < equivariance_error(conv("zeros"), x) < 0.6
    inner = F.pad(x[..., 2:6, 2:6], (2, 2, 2, 2))
    assert equivariance_error(conv("zeros"), inner) < 0.6
    without_bias = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    assert equivariance_error(without_bias, inner) < 1e-6  # the borders see zeros before and after


def test_the_error_by_hand() -> None:
    image = torch.zeros(1, 1, 2, 2)
    image[0, 0, 0, 0] = 1.0
    mask = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    # f(x) = mask x = 1 at (0, 0); f(shift x) = 0, shift f(x) = 1 at (1, 1): |0 - 1| / 1.
    assert equivariance_error(lambda x: mask * x, image, (1, 1)) == 1.0
    assert equivariance_error(lambda x: 3 * x, image, (1, 1)) == 0.0


@pytest.mark.parametrize(("shift", "exact"), [((4, 4), True), ((4, 0), True), ((1, 1), False)])
def test_a_network_with_pooling_is_invariant_to_shifts_by_its_stride(shift: tuple[int, int], exact: bool) -> None:
    model, x = SmallCnn(1, 5, width=8, depth=2, padding_mode="circular"), torch.randn(4, 1, 8, 8)
    assert (equivariance_error(model, x, shift) < 1e-6) == exact


def test_parameters_of_several_names_count_once_and_frozen_ones_not() -> None:
    form = {"length": 4, "width": 8, "heads": 2, "depth": 3}
    counts = {
        (tied, shared): independent_parameters(SmallTransformer(10, 10, tied=tied, shared=shared, **form))
        for tied in (False, True)
        for shared in (False, True)
    }
    block = 4 * 8 * 8 + 4 * 8 + 8 * 8 * 8 + 5 * 8 + 4 * 8  # attention, mlp, norms
    assert counts[False, False] - counts[True, False] == 10 * 8
    assert counts[False, False] - counts[False, True] == 2 * block
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert independent_parameters(model) == 6


def bars(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of noise with one bar, down or across, anywhere: what a shift does not change is all there is to know."""
    own = torch.Generator().manual_seed(seed)
    x = 0.5 * torch.randn(rows, 1, 8, 8, generator=own)
    y = torch.randint(0, 2, (rows,), generator=own)
    places = torch.randint(0, 8, (rows,), generator=own)
    for image, across, place in zip(x, y, places, strict=True):
        image[0].select(0 if across else 1, int(place)).add_(1.0)
    return x, y


def shared() -> nn.Module:
    return SmallCnn(1, 2, width=8, depth=1, padding_mode="circular")


def test_sharing_narrows_the_gap_where_the_symmetry_holds() -> None:
    train, validation = bars(40, 0), bars(400, 1)
    report = sharing_report(
        shared, lambda: unshared(shared(), train[0]), train, validation, seeds=3, steps=150, shift=(2, 2)
    )
    assert report.shared.parameters == 8 * 9 + 8 + 2 * 8 + 2
    assert report.unshared.parameters == 64 * (8 * 9 + 8) + 2 * 8 + 2
    assert report.shared.equivariance < 1e-5
    assert report.unshared.equivariance > 0.01
    assert report.wider.low > 0
    assert report.worse.low > 0
    assert report.wider.value == pytest.approx(report.unshared.gap.value - report.shared.gap.value, abs=1e-6)
    for kind in (report.shared, report.unshared):
        assert kind.gap.value == pytest.approx(kind.validation.value - kind.train.value, abs=1e-6)
    text = str(report)
    assert "5,138" in text
    assert "unshared - shared, gap:" in text


def test_a_kind_against_itself_differs_by_nothing() -> None:
    report = sharing_report(shared, shared, bars(20, 0), bars(50, 1), seeds=2, steps=5)
    assert (report.wider.value, report.wider.low, report.wider.high) == (0.0, 0.0, 0.0)


def test_sequences_have_losses_but_no_shifts() -> None:
    tokens = torch.randint(0, 5, (20, 7))
    data = tokens[:, :-1], tokens[:, 1:]

    def network(own: bool) -> nn.Module:
        return SmallTransformer(5, 5, length=6, width=8, heads=2, shared=own)

    report = sharing_report(lambda: network(True), lambda: network(False), data, data, seeds=2, steps=5)
    assert report.shared.equivariance is None
    assert report.shared.gap.value == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(report.wider.value)
    assert " -\n" in str(report)


def test_unseen_rows_may_lack_the_last_class() -> None:
    train, (x, y) = bars(20, 0), bars(50, 1)
    report = sharing_report(shared, shared, train, (x[y == 0], y[y == 0]), seeds=2, steps=5)
    assert np.isfinite(report.shared.validation.value)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"sharing_report.seeds` must be an int >= 2; got 1"):
        sharing_report(shared, shared, bars(20, 0), bars(20, 1), seeds=1)
    with pytest.raises(ArgumentError, match=r"equivariance_error.inputs` must be images \(B, C, H, W\)"):
        equivariance_error(nn.Identity(), torch.zeros(2, 3))
