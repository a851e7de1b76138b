"""The ensemble's weights: greedy selection against a slow twin, and its guard against members that are lucky."""

import itertools

import numpy as np
import torch
from torch import Tensor

from poise.study.selection import Loss, greedy_weights

DRAW = torch.Generator().manual_seed(0)


def squares(targets: Tensor) -> Loss:
    return lambda mean, rows: torch.square(mean - targets[rows]).mean((1, 2))


def twin(predictions: np.ndarray, targets: np.ndarray, bags: list[np.ndarray], picks: int) -> np.ndarray:
    """The source's algorithm by loops in float64."""
    total = np.zeros(len(predictions))
    for rows in bags:
        picked: list[int] = []
        best = (np.inf, np.zeros(len(predictions)))
        for _ in range(picks):
            losses = [
                np.mean((predictions[[*picked, m]].mean(0)[rows] - targets[rows]) ** 2) for m in range(len(predictions))
            ]
            picked.append(int(np.argmin(losses)))
            if min(losses) < best[0]:
                best = (min(losses), np.bincount(picked, minlength=len(predictions)) / len(picked))
        total += best[1]
    return np.asarray(total / len(bags))


def test_the_weights_are_those_of_the_slow_twin() -> None:
    targets = torch.randn(40, 1, generator=DRAW)
    predictions = targets + torch.randn(5, 40, 1, generator=DRAW)
    found = greedy_weights(predictions, squares(targets), picks=8, bags=4, seed=3)
    generator = torch.Generator().manual_seed(3)
    bags = [torch.randperm(40, generator=generator)[:20].numpy() for _ in range(4)]
    np.testing.assert_allclose(found.numpy(), twin(predictions.double().numpy(), targets.double().numpy(), bags, 8))


def test_two_members_whose_errors_cancel_get_what_brute_force_over_all_multisets_gives() -> None:
    targets = torch.zeros(30, 1)
    error = torch.randn(30, 1, generator=DRAW)
    predictions = torch.stack([error, -error, 3 * torch.ones(30, 1), 2 * error])
    found = greedy_weights(predictions, squares(targets), picks=4)
    choices = [c for size in range(1, 5) for c in itertools.combinations_with_replacement(range(4), size)]
    best = min(choices, key=lambda c: (float(torch.square(predictions[list(c)].mean(0)).mean()), len(c)))
    assert best == (0, 1)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.5, 0.0, 0.0]))


def test_weights_are_shares_for_any_number_of_members_rows_and_bags() -> None:
    for members, rows in ((1, 5), (2, 1), (7, 2), (12, 30)):
        targets = torch.rand(rows, 2, generator=DRAW)
        found = greedy_weights(torch.rand(members, rows, 2, generator=DRAW), squares(targets), seed=members)
        assert bool((found >= 0).all())
        torch.testing.assert_close(found.sum(), torch.tensor(1.0))


def test_the_same_seed_gives_the_same_weights() -> None:
    targets = torch.rand(30, 1, generator=DRAW)
    predictions = torch.rand(6, 30, 1, generator=DRAW)
    assert greedy_weights(predictions, squares(targets)).equal(greedy_weights(predictions, squares(targets)))


def test_bags_keep_members_of_noise_from_taking_more_than_a_single_greedy_choice_gives_them() -> None:
    bagged, greedy = 0.0, 0.0
    for _ in range(10):
        targets = torch.randn(40, 1, generator=DRAW)
        good = targets + 0.7 * torch.randn(1, 40, 1, generator=DRAW)
        noise = torch.randn(30, 40, 1, generator=DRAW)
        predictions = torch.cat([good, noise])
        bagged += float(greedy_weights(predictions, squares(targets))[1:].max())
        greedy += float(twin(predictions.double().numpy(), targets.double().numpy(), [np.arange(40)], 20)[1:].max())
    assert bagged < greedy
    assert bagged / 10 < 0.1  # on average, no member of noise has a tenth of the say
