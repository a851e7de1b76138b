"""BatchEnsemble: an ensemble whose members share every weight and differ by two vectors a layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from poise.core.context import Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.kinds import Inserted, inserted_layers
from poise.network.attach import AtSites, child_name, child_of
from poise.network.batch_norm import features_of
from poise.network.rules import WEIGHT_RULES

__all__ = ["BatchEnsemble", "BatchEnsembleLayer", "MemberMean"]

_INITIAL = ("signs", "normal")


class BatchEnsembleLayer(Inserted):
    """Scales what enters and leaves its host, for each row by the vectors of the row's member.

    In evaluation all rows are those of `member`.
    """

    is_norm = True  # the vectors' role: not weights to decay
    share: Tensor

    def __init__(self, part: BatchEnsemble, host: nn.Module) -> None:
        super().__init__(part)
        outputs, self.dim = features_of(host)
        inputs = host.in_features if isinstance(host, nn.Linear) else host.in_channels
        owner: Tensor = host.weight  # type: ignore[assignment]  # features_of has checked the host
        self.members, self.member = part.members, 0
        self.input_scale = nn.Parameter(_start(part, int(inputs), owner))  # type: ignore[arg-type]  # as above
        self.output_scale = nn.Parameter(_start(part, outputs, owner))

    def scaled_input(self, x: Tensor) -> Tensor:
        """Return r x, r the vector of each row's member."""
        return x * self._of_rows(self.input_scale, x)

    def forward(self, y: Tensor) -> Tensor:
        """Return s y, s the vector of each row's member."""
        return y * self._of_rows(self.output_scale, y)

    def _of_rows(self, vectors: Tensor, x: Tensor) -> Tensor:
        share = self.share.to(x.dtype)
        vectors = 1 + share * (vectors.to(x.dtype) - 1)
        shape = (-1, *[1] * (-1 - self.dim))
        if not self.training:
            return vectors[self.member].reshape(shape)
        rows = x.shape[0] if x.dim() > -self.dim else 1
        # One draw for all layers: a row keeps its member on its way through the network.
        turn = self.rng_of_part().words("turn", 1) % self.members
        place = torch.arange(rows, device=x.device) * self.members // max(1, rows)
        chosen = vectors[(place + turn.to(x.device)) % self.members]
        between = [1] * max(0, x.dim() + self.dim - 1)
        return chosen.reshape(rows, *between, -1, *shape[1:]) if x.dim() > -self.dim else chosen.reshape(shape)


def _start(part: BatchEnsemble, features: int, owner: Tensor) -> Tensor:
    """Return first vectors (members, features), drawn like any first weights from torch's generator."""
    if part.initial == "signs":
        values = 2.0 * torch.randint(0, 2, (part.members, features)) - 1
    else:
        values = 1 + 0.1 * torch.randn(part.members, features)
    return values.to(owner.device, owner.dtype)


class MemberMean(nn.Module):
    """Asks every member and returns the mean of their probabilities, as logits, or of their outputs.

    The mean is taken as a change of the first member's answer, so that members who agree change nothing.
    """

    def __init__(self, predictor: nn.Module, part: BatchEnsemble, probabilities: bool) -> None:
        super().__init__()
        self.predictor = predictor
        self.part, self.members = part.name, part.members
        self.probabilities = probabilities

    def forward(self, inputs: Any) -> Any:
        """Return the ensemble's answer."""
        layers = [layer for _, layer in inserted_layers(self.predictor) if layer.part == self.part]
        answers = []
        try:
            for member in range(self.members):
                for layer in layers:
                    assert isinstance(layer, BatchEnsembleLayer)
                    layer.member = member
                answers.append(self.predictor(inputs))
        finally:
            for layer in layers:
                layer.member = 0  # type: ignore[assignment]  # a plain attribute
        return pytree.tree_map(lambda *own: self._mean(torch.stack(own)), *answers)

    def _mean(self, answers: Tensor) -> Tensor:
        wide = answers.to(torch.promote_types(answers.dtype, torch.float32))
        levels = wide.log_softmax(-1) if self.probabilities else wide
        gaps = torch.where(levels == levels[0], 0.0, levels - levels[0])  # also where both are -inf
        if not self.probabilities:
            return (wide[0] + gaps.mean(0)).to(answers.dtype)
        top = gaps.amax(0)
        return (wide[0] + top + (gaps - top).exp().mean(0).log()).to(answers.dtype)


def _scale_in(child: str, host: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook."""
    layer = child_of(host, child)
    assert isinstance(layer, BatchEnsembleLayer)
    return inputs if layer.idle else (layer.scaled_input(inputs[0]), *inputs[1:])


@dataclass(frozen=True)
class BatchEnsemble(AtSites):
    """Train several members in one network: all share its weights, and each has two vectors a layer of its own.

    W_i = W * outer(s_i, r_i) and bias s_i b for member i, computed as s_i (W (r_i x) + b). Every training batch is
    divided over the members, in turn, so a step costs no more than without; r and s are learned and take the role of
    norms, so that decay leaves them alone. The predict stage asks each member and returns the mean of their
    probabilities (of their outputs in regression): the price of an ensemble there, next to none in training. Plain
    evaluation, without the predict stage, is member 0. Give each member as many rows as a batch should have.

    Neutral: share = 0.
    Shapes: rows are the first dimension: (B, ..., F) at linear layers, (B, C, ...) at convolutions. r is (members,
        inputs), s is (members, outputs). initial = "signs" begins at random signs, "normal" near 1 (1 + 0.1 n), for a
        network that was trained before.
    Units: share is how far the vectors count: 1 + share (r - 1).
    Raises: ArgumentError if share is outside [0, 1], members is not an int >= 2, or initial is neither word.
    Source: Wen, Tran, Ba 2020, "BatchEnsemble", equations 1 and 5; one bias for all members. Gorishniy, Kotelnikov,
        Babenko 2025, "TabM", shares weights in this way for tables.

    >>> model = BatchEnsemble(members=2).network(nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1)))
    >>> layer = model[0].poise_batch_ensemble
    >>> layer.input_scale.data, layer.output_scale.data = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[1.0], [10]])
    >>> _ = model[0].weight.data.fill_(1.0)
    >>> sorted(model[0](torch.ones(2, 2)).flatten().tolist())
    [3.0, 70.0]
    """

    rank: ClassVar[int] = 5
    formula: ClassVar[str] = "W_i = W * outer(s_i, r_i); prediction: mean over i"
    cost: ClassVar[str] = "two passes over the activations; members times the prediction"
    places: ClassVar[tuple[str, ...]] = WEIGHT_RULES

    where: str = field(default="hidden layers", kw_only=True)
    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))
    members: int = 4
    initial: str = "signs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.members, bool) or not isinstance(self.members, int) or self.members < 2:
            raise ArgumentError(
                f"`BatchEnsemble.members` must be an int >= 2; got {shown(self.members)}. Leave the part out for one."
            )
        if self.initial not in _INITIAL:
            raise ArgumentError(
                f"`BatchEnsemble.initial` must be one of {', '.join(_INITIAL)}; got {shown(self.initial)}. "
                '"normal" suits a network that was trained before.'
            )

    def touches(self) -> str:
        return f"around {self.where}"

    def insert(self, host: nn.Module, layer: Inserted) -> None:
        host.register_forward_pre_hook(partial(_scale_in, child_name(self)))
        super().insert(host, layer)

    def layer(self, host: nn.Module) -> Inserted:
        return BatchEnsembleLayer(self, host)

    def predict(self, predictor: Any, ctx: Context) -> Any:
        return MemberMean(predictor, self, ctx.classes is not None).eval()
