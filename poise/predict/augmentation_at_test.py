"""Augmentation at test time: the mean over several draws of the inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError, shown
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng
from poise.predict.averaged import Averaged, check_count, check_space

__all__ = ["AugmentationAtTest", "AugmentedPasses"]


class AugmentedPasses(Averaged):
    """Averages a predictor's answers on edited copies of the inputs; the same rows get the same edits each time."""

    key: Tensor

    def __init__(
        self, predictor: nn.Module, transforms: Sequence[Regularizer], samples: int, ctx: Context, space: str
    ) -> None:
        super().__init__(None, space)
        self.predictor = predictor
        self.recipe = Recipe(*transforms).resolve({}, ctx.step)
        self.samples = samples
        self.stream = ctx.rng.name
        self.facts = Context(ctx.step, ctx.rng, columns=ctx.columns, classes=ctx.classes)
        self.register_buffer("key", ctx.rng.keys.clone(), persistent=False)

    def answers(self, inputs: Any) -> Tensor:
        """Return the outputs on each draw of the inputs (samples, N, ..., K)."""
        return self.stacked([self.predictor(self._drawn(inputs, number)) for number in range(self.samples)])

    def _drawn(self, inputs: Any, number: int) -> Any:
        # Targets are not known here; a part that edits them would mix rows or labels.
        unknown = torch.zeros(len(pytree.tree_leaves(inputs)[0]))
        ctx = dataclasses.replace(self.facts, rng=Rng(self.key, f"{self.stream}/pass/{number}"))
        edited, _ = self.recipe.fold("batch", Batch(inputs, unknown), self.recipe.remember({}), ctx)
        if edited.targets is not unknown:
            raise ArgumentError(
                "`AugmentationAtTest.transforms` must edit inputs only; got "
                f"{', '.join(type(part).__name__ for part in self.recipe)}, which edit the targets too. "
                "Give parts like InputNoise or a flip."
            )
        return edited.inputs


@dataclass(frozen=True)
class AugmentationAtTest(Regularizer):
    """Predicts with the mean over `samples` draws of the given transforms of the inputs.

    log 1/S sum_s softmax(f(t_s(x))), or 1/S sum_s f(t_s(x)), t_s drawn anew for each row. `transforms` are parts of
    the batch stage that edit inputs and leave targets alone, in their usual order; take those of training, so that
    the network has seen such inputs: a recipe's own are `tuple(recipe.stage("batch"))`. It costs `samples` forward
    passes at each prediction, and the transforms. Draws are keyed: the same rows in the same order get the same answer.

    Neutral: leave it out, or transforms that are neutral themselves.
    Shapes: outputs keep theirs, (N, ..., K), classes last.
    Units: samples counts forward passes; space "probability" for classes (the result is log-probabilities), "output"
    for regression.
    Raises: ArgumentError if transforms is no tuple of batch-stage parts, samples is not an int >= 1, space is no
    space; at the first prediction if a transform edits targets.
    Source: Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 4.1, which averages the softmax over ten fixed patches.

    >>> from poise.batch import InputNoise
    >>> part = AugmentationAtTest((InputNoise(1.0),), samples=500, space="output")
    >>> passes = part.predict(nn.Identity(), Context(0, Rng(torch.tensor([0, 0, 0]))))
    >>> bool(passes(torch.tensor([[5.0]])).sub(5.0).abs() < 0.15)
    True
    """

    rank: ClassVar[int] = 40
    formula: ClassVar[str] = "mean over samples of f(t(x)), t drawn from the transforms"
    cost: ClassVar[str] = "samples forward passes and transforms at each prediction; nothing in training"

    transforms: tuple[Regularizer, ...]
    samples: int = 8
    space: str = "probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.transforms if isinstance(self.transforms, tuple) else ()
        if not given or not all(isinstance(part, Regularizer) and "batch" in part.stages() for part in given):
            raise ArgumentError(
                "`AugmentationAtTest.transforms` must be a tuple of one or more parts of the batch stage; got "
                f"{shown(self.transforms)}. Write AugmentationAtTest((InputNoise(0.1),))."
            )
        Recipe(*given)  # refuses two of one name
        check_count("AugmentationAtTest", "samples", self.samples)
        check_space("AugmentationAtTest", self.space)

    def predict(self, predictor: nn.Module, ctx: Context) -> nn.Module:
        return AugmentedPasses(predictor, self.transforms, self.samples, ctx, self.space).eval()
