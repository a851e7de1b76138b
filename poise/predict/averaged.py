"""What every averaging predictor shares: answers of several passes or members, their mean, how far they disagree."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown

__all__ = ["Averaged", "check_count", "check_space", "mean_answer", "one_answer", "shares"]


def check_space(owner: str, space: object) -> None:
    """Raise ArgumentError unless `space` names what is averaged."""
    if space not in ("probability", "output"):
        raise ArgumentError(
            f'`{owner}.space` must be "probability" or "output"; got {shown(space)}. '
            "Average probabilities of classes, outputs of a regression."
        )


def check_count(owner: str, name: str, value: object, low: int = 1) -> None:
    """Raise ArgumentError unless the value is an int of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ArgumentError(f"`{owner}.{name}` must be an int >= {low}; got {shown(value)}. It is a count.")


def one_answer(owner: str, outputs: Any) -> Tensor:
    """Return the outputs, checked to be one tensor. Raises ArgumentError for those of several tasks."""
    if isinstance(outputs, Tensor):
        return outputs
    got = f"a dict of {', '.join(map(str, outputs))}" if isinstance(outputs, dict) else type(outputs).__name__
    raise ArgumentError(
        f"`{owner}` must have a network that returns one tensor; got {got}. Predict one task at a time: "
        "nn.Sequential(model.trunk, model.heads[task]) is its network."
    )


class Averaged(nn.Module):
    """Base of predictors whose output is the mean of several answers: subclasses give `answers(inputs)`.

    In "probability" space the output is log sum_m a_m softmax(answer_m): log-probabilities, which are logits to any
    loss and to any part that comes after. In "output" space it is sum_m a_m answer_m. A single answer is returned as
    it is. Shapes: answers (M, N, ..., K) -> (N, ..., K), classes last.
    """

    def __init__(self, weights: Sequence[float] | Tensor | None, space: str) -> None:
        super().__init__()
        self.weights = weights
        self.space = space

    @abstractmethod
    def answers(self, inputs: Any) -> Tensor:
        """Return what each member or pass answers (M, N, ..., K)."""

    def forward(self, inputs: Any) -> Tensor:
        """Return the mean answer."""
        return self.mean(self.answers(inputs))

    def stacked(self, passes: Sequence[Any]) -> Tensor:
        """Return the outputs of several passes or members as (M, N, ..., K)."""
        return torch.stack([one_answer(type(self).__name__, outputs) for outputs in passes])

    def mean(self, answers: Tensor) -> Tensor:
        """Return the mean of answers (M, N, ..., K)."""
        return mean_answer(answers, self._shares(answers), self.space)

    def disagreement(self, inputs: Any) -> Tensor:
        """Return how far the answers are from their mean, for each row: 0 where all agree.

        "probability": sum_m a_m KL(p_m, mean p), in nats, at most log M; the share of the uncertainty that is about
        the weights (mutual information; Houlsby et al. 2011). "output": sum_m a_m (f_m - mean f)^2, averaged over
        outputs; the mean's squared error is the members' minus this, exactly (Krogh and Vedelsby 1995).

        Shapes: -> (N, ...), without the last dimension.
        """
        answers = self.answers(inputs)
        share = self._shares(answers)
        if self.space == "output":
            wide = answers.to(_wide(answers))
            return _total((wide - _total(wide, share)).square(), share).mean(-1)
        logs = _log_probabilities(answers)
        gaps = logs - self.mean(answers).to(logs).log_softmax(-1)
        return _total(torch.where(logs > -torch.inf, logs.exp() * gaps, 0.0), share).sum(-1)

    def _shares(self, answers: Tensor) -> Tensor:
        share = shares(self.weights, answers.shape[0]).to(answers.device, _wide(answers))
        return share.reshape(-1, *[1] * (answers.dim() - 1))


def mean_answer(answers: Tensor, share: Tensor, space: str) -> Tensor:
    """Return the mean answer (N, ..., K) of answers (M, N, ..., K), in float32 at least, in the answers' dtype.

    `share` (M, 1 or N, ..., 1) are the members' shares, which sum to 1 over members; one without a share has no say,
    also where it diverged.
    """
    if answers.shape[0] == 1:
        return answers[0]
    if space == "output":
        return _total(answers.to(_wide(answers)), share).to(answers.dtype)
    # In logs, where a class that all members find unlikely stays finite.
    logs = torch.where(share > 0, _log_probabilities(answers) + share.log(), -torch.inf)
    return torch.logsumexp(logs, 0).to(answers.dtype)


def _total(values: Tensor, share: Tensor) -> Tensor:
    return torch.where(share > 0, share * values, 0.0).sum(0)


def _wide(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def _log_probabilities(answers: Tensor) -> Tensor:
    if answers.dim() < 3 or answers.shape[-1] < 2:
        raise ArgumentError(
            f"answers must be (members, rows, classes) with 2 classes or more to average probabilities; got "
            f'{tuple(answers.shape)}. Set space="output" for a regression or for a single logit.'
        )
    return torch.log_softmax(answers, dim=-1, dtype=_wide(answers))


def shares(weights: Sequence[float] | Tensor | None, members: int) -> Tensor:
    """Return the members' shares (M,) in float64, which sum to 1."""
    if weights is None:
        return torch.full((members,), 1 / members, dtype=torch.float64)
    given = torch.as_tensor(weights, dtype=torch.float64)
    if (
        given.shape != (members,)
        or not bool((torch.isfinite(given) & (given >= 0)).all())
        or not float(given.sum()) > 0
    ):
        raise ArgumentError(
            f"`Ensemble.weights` must be one finite number >= 0 for each of {members} members, with a positive sum; "
            f"got {shown(given.tolist())}."
        )
    return given / given.sum()
