"""Recipes by architecture: what the literature uses with each, as a place to start from."""

from __future__ import annotations

import math
from typing import Any

from poise.average.ema import Ema
from poise.average.swa import Swa
from poise.batch.crop import Crop
from poise.batch.cutout import Cutout
from poise.batch.flip import Flip
from poise.batch.label_smoothing import LabelSmoothing
from poise.batch.mixup import Mixup
from poise.batch.mixup_or_cut_mix import MixupOrCutMix
from poise.core.errors import ArgumentError, shown
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.schedule import SwitchOff, WarmUp
from poise.gradient.clip_norm import ClipNorm
from poise.network.attention_dropout import AttentionDropout
from poise.network.batch_norm import BatchNorm
from poise.network.drop_path import DropPath
from poise.network.dropout import Dropout
from poise.network.embedding_dropout import EmbeddingDropout
from poise.network.locked_dropout import LockedDropout
from poise.network.recurrent_drop_connect import RecurrentDropConnect
from poise.network.temporal_penalty import TemporalPenalty
from poise.stop.patience import Patience
from poise.update.decay import Decay

__all__ = ["cnn", "mlp", "resnet", "rnn", "transformer", "vit", "wide_resnet"]


def mlp(strength: float = 1.0, *, steps: int | None = None, decay: float = 0.01, patience: float = 10) -> Recipe:
    """Return the recipe for dense networks: batch norm, dropout, decay and early stopping.

    - `BatchNorm`, momentum 0.1: Ioffe and Szegedy 2015, "Batch normalization"; the momentum is torch's.
    - `Dropout` 0.5 behind each hidden layer: Srivastava et al. 2014, "Dropout", section 1 and appendix A.4. With
      `steps` it rises from 0 over their first tenth, after Morerio et al. 2017, "Curriculum dropout", whose rise is
      exponential.
    - `Decay` 0.01: the default of torch.optim.AdamW, for learning rates about 1e-3; Loshchilov and Hutter 2019,
      "Decoupled weight decay regularization".
    - `Patience`: Goodfellow, Bengio, Courville 2016, "Deep Learning", algorithm 7.1; 10 is our choice.

    `strength` multiplies what each part does, between 0 (every part neutral) and 1 (the values above) or more: rates
    and shares are multiplied, and probabilities kept below 1; patience and limits are divided; an average runs over as
    many times more steps. Raises: ArgumentError for a strength that is no finite number >= 0, or steps < 1.

    >>> mlp()
    Recipe(
        BatchNorm(share=1),                          # network
        Dropout(p=0.5),                              # network
        Decay(rate=0.01),                            # shrink
        Patience(evaluations=10, minimum_change=0),  # stop
    )
    >>> mlp(0.0) == mlp().neutral()
    True
    """
    _check("mlp", strength, steps)
    return Recipe(
        BatchNorm(share=_share(strength, 1.0, 1.0)),
        Dropout(_early(_share(strength, 0.5), steps)),
        Decay(strength * decay),
        Patience(_limit(strength, patience)),
    )


def cnn(
    strength: float = 1.0,
    *,
    steps: int | None = None,
    decay: float = 5e-4,
    flip: float = 0.5,
    pixels: float = 4.0,
    cutout: float = 0.5,
    mixup: float = 1.0,
) -> Recipe:
    """Return the recipe for convolutional networks: augmentation, mixing, smoothing, decay and averaging.

    - `Flip` 0.5 and `Crop` 4 pixels, for photographs of 32 pixels: He et al. 2016, "Deep residual learning for image
      recognition", section 4.2. For digits and text flip=0; pixels an eighth of the side.
    - `Cutout` of half the side: DeVries and Taylor 2017, "Improved regularization of convolutional neural networks
      with cutout", section 4 (16 of 32 pixels, CIFAR-10).
    - `Mixup` alpha 0.2, on the share `mixup` of the rows, and `LabelSmoothing` 0.1: T. He et al. 2019, "Bag of tricks
      for image classification", sections 5.2 and 5.4. With `steps`, mixup stops after four fifths of them, so that
      training ends on rows as they are: Z. He et al. 2019, "Data augmentation revisited".
    - `Decay` 5e-4, for SGD at learning rates about 0.1: Zagoruyko and Komodakis 2016, "Wide residual networks",
      section 3. For AdamW at 1e-3 take 0.05.
    - With `steps`, `Swa` over their last quarter: Izmailov et al. 2018, "Averaging weights leads to wider optima";
      without, `Ema` 0.999 as in Tarvainen and Valpola 2017. Both want a learning rate that does not fall to 0.

    `strength` and what is raised are as in `mlp`. Images are (B, C, H, W); `run.evaluation(batches)` makes the batch
    statistics of averaged weights anew.

    >>> [part.name for part in cnn()]
    ['flip', 'crop', 'cutout', 'mixup', 'label_smoothing', 'decay', 'ema']
    """
    _check("cnn", strength, steps)
    mixed: Any = _share(strength, mixup, 1.0)  # dials are declared as floats, and take schedules
    mixed = mixed if steps is None else SwitchOff(mixed, max(1, 4 * steps // 5))
    last: Regularizer = Ema(max(0.0, 1 - 0.001 / strength) if strength else 0.0)
    if steps is not None:
        last = Swa(start=3 * steps // 4, share=_share(strength, 1.0, 1.0))
    return Recipe(
        Flip(horizontal=_share(strength, flip, 0.5)),
        Crop(strength * pixels),
        Cutout(side=_share(strength, cutout)),
        Mixup(alpha=0.2, share=mixed),
        LabelSmoothing(_share(strength, 0.1)),
        Decay(strength * decay),
        last,
    )


def resnet(
    strength: float = 1.0,
    *,
    steps: int | None = None,
    decay: float = 5e-4,
    flip: float = 0.5,
    pixels: float = 4.0,
    cutout: float = 0.5,
) -> Recipe:
    """Return the recipe for residual networks with norms, such as `poise.models.ResNet`: augmentation and decay.

    - `Flip` 0.5 and `Crop` 4 pixels: He et al. 2016, "Deep residual learning for image recognition", section 4.2.
    - `Cutout` of half the side, and `Decay` 5e-4 for SGD at a learning rate of 0.1 (for Adam at 1e-3 take 0.05):
      DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout", section 4,
      for ResNet-18.
    - With `steps`, `Swa` over their last quarter: Izmailov et al. 2018; without, `Ema` 0.999, both as in `cnn`.

    `strength` and what is raised are as in `mlp`, `flip` and `pixels` as in `cnn`.

    >>> [part.name for part in resnet()]
    ['flip', 'crop', 'cutout', 'decay', 'ema']
    """
    _check("resnet", strength, steps)
    own = ("mixup", "label_smoothing")
    return cnn(strength, steps=steps, decay=decay, flip=flip, pixels=pixels, cutout=cutout).without(*own)


def wide_resnet(
    strength: float = 1.0,
    *,
    steps: int | None = None,
    decay: float = 5e-4,
    flip: float = 0.5,
    pixels: float = 4.0,
    dropout: float = 0.3,
) -> Recipe:
    """Return the recipe for wide residual networks, such as `poise.models.WideResNet`.

    - `Flip` 0.5, `Crop` 4 pixels, and `Decay` 5e-4 for SGD at a learning rate of 0.1 (for Adam at 1e-3 take 0.05):
      Zagoruyko and Komodakis 2016, "Wide residual networks", section 3.
    - `Dropout` 0.3: the same, sections 2.4 and 3, which put it between a block's two convolutions; here it is behind
      each activation, of which every other one stands there.
    - The average of weights is as in `resnet`.

    `strength` and what is raised are as in `mlp`, `flip` and `pixels` as in `cnn`.

    >>> [part.name for part in wide_resnet()]
    ['dropout', 'flip', 'crop', 'decay', 'ema']
    """
    _check("wide_resnet", strength, steps)
    plain = resnet(strength, steps=steps, decay=decay, flip=flip, pixels=pixels).without("cutout")
    return plain.plus(Dropout(_share(strength, dropout)))


def vit(
    strength: float = 1.0, *, steps: int | None = None, decay: float = 0.05, flip: float = 0.5, pixels: float = 4.0
) -> Recipe:
    """Return the recipe for vision transformers, such as `poise.models.VisionTransformer`: mixing and stochastic depth.

    - `MixupOrCutMix` on every row, alphas 0.8 and 1, `LabelSmoothing` 0.1, `DropPath` 0.1, `Decay` 0.05 (AdamW):
      Touvron et al. 2021, "Training data-efficient image transformers", table 9. With `steps`, stochastic depth rises
      from 0 over their first tenth. Its RandAugment and random erasing are left out: `vit().plus(RandAugment())`.
    - `Flip` 0.5 and `Crop` 4 pixels in place of its resized crops, for images of 32 pixels.
    - `ClipNorm` 1: Steiner et al. 2022, "How to train your ViT?", section 3.

    `strength` and what is raised are as in `mlp`, `flip` and `pixels` as in `cnn`; the warm-up is as in `transformer`.

    >>> [part.name for part in vit()]
    ['drop_path', 'flip', 'crop', 'mixup_or_cut_mix', 'label_smoothing', 'clip_norm', 'decay']
    """
    _check("vit", strength, steps)
    return Recipe(
        DropPath(_early(_share(strength, 0.1), steps)),
        Flip(horizontal=_share(strength, flip, 0.5)),
        Crop(strength * pixels),
        MixupOrCutMix(share=_share(strength, 1.0, 1.0), mixup_alpha=0.8, cut_alpha=1.0),
        LabelSmoothing(_share(strength, 0.1)),
        ClipNorm(_limit(strength, 1.0)),
        Decay(strength * decay),
    )


def rnn(strength: float = 1.0, *, steps: int | None = None, decay: float = 1.2e-6) -> Recipe:
    """Return the recipe for recurrent language models: that of AWD-LSTM.

    - `RecurrentDropConnect` 0.5, `LockedDropout` 0.4 behind each recurrent layer, `EmbeddingDropout` 0.1: Merity,
      Keskar, Socher 2018, "Regularizing and optimizing LSTM language models", sections 2, 4 and 5 (0.4 is its rate
      behind the last layer; 0.3 between layers).
    - `Decay` 1.2e-6 for SGD at a learning rate of 30: the code of that paper. For AdamW at 1e-3 take 0.01.
    - `TemporalPenalty` 2 and 1: the same, after Merity, McCann, Socher 2017, "Revisiting activation regularization".
    - `ClipNorm` 0.25: the first of these, section 5; after Pascanu, Mikolov, Bengio 2013, "On the difficulty of
      training recurrent neural networks".
    - With `steps`, `Swa` over their last quarter, in place of that paper's NT-ASGD, which begins to average when the
      validation score no longer improves.

    Those values are for words and layers of 1150 units; characters and small layers want less (0.3 to 0.5 of the
    strength). `strength` and what is raised are as in `mlp`. The recurrent layers are nn.LSTM, nn.GRU or nn.RNN.

    >>> rnn(0.5)["recurrent_drop_connect"].p, rnn(0.5)["clip_norm"].limit
    (0.25, 0.5)
    """
    _check("rnn", strength, steps)
    parts: list[Regularizer] = [
        EmbeddingDropout(_share(strength, 0.1)),
        LockedDropout(_share(strength, 0.4)),
        RecurrentDropConnect(_share(strength, 0.5)),
        TemporalPenalty(size=2.0 * strength, change=1.0 * strength),
        ClipNorm(_limit(strength, 0.25)),
        Decay(strength * decay),
    ]
    if steps is not None:
        parts.append(Swa(start=3 * steps // 4, share=_share(strength, 1.0, 1.0)))
    return Recipe(*parts)


def transformer(
    strength: float = 1.0, *, steps: int | None = None, decay: float = 0.1, smoothing: float = 0.1
) -> Recipe:
    """Return the recipe for transformers: dropout in four places, smoothing, decay and clipping.

    - `Dropout` 0.1 behind each branch and behind the embeddings: Vaswani et al. 2017, "Attention is all you need",
      section 5.4; inside the feed-forward layers and, as `AttentionDropout` 0.1, behind the softmax: later defaults of
      its code (tensor2tensor, `transformer_base_v2`).
    - `LabelSmoothing` 0.1: the same, section 5.4 (it costs likelihood); on targets that are distributions.
    - `DropPath` 0.1: Huang et al. 2016, "Deep networks with stochastic depth"; the rate is that of Touvron et al.
      2021, "Training data-efficient image transformers". With `steps` it rises from 0 over their first tenth.
    - `Decay` 0.1 and `ClipNorm` 1: Brown et al. 2020, "Language models are few-shot learners", appendix B.

    The warm-up of the learning rate belongs to the loop: `OneCycle(lr, steps)`. `strength` and what is raised are
    as in `mlp`.

    >>> [part.name for part in transformer().stage("network")]
    ['attention_dropout', 'dropout', 'dropout_branches', 'dropout_embeddings', 'drop_path']
    """
    _check("transformer", strength, steps)
    rate = _share(strength, 0.1)
    return Recipe(
        Dropout(rate),
        Dropout(rate, where="residual branches", name="dropout_branches"),
        Dropout(rate, where="embeddings", name="dropout_embeddings"),
        AttentionDropout(rate),
        DropPath(_early(rate, steps)),
        LabelSmoothing(_share(strength, smoothing)),
        ClipNorm(_limit(strength, 1.0)),
        Decay(strength * decay),
    )


def _check(owner: str, strength: object, steps: object) -> None:
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0 <= strength < math.inf:
        raise ArgumentError(
            f"`{owner}.strength` must be a finite number >= 0; got {shown(strength)}. 1 is the literature's, 0 neutral."
        )
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ArgumentError(
            f"`{owner}.steps` must be an int >= 1, or None; got {shown(steps)}. It counts the optimizer's steps in all."
        )


def _share(strength: float, value: float, most: float = 0.9) -> float:
    """Return a share or probability at a strength, kept where something is left."""
    return min(most, strength * value)


def _limit(strength: float, value: float) -> float:
    """Return a limit at a strength: none at 0."""
    return value / strength if strength else math.inf


def _early(rate: float, steps: int | None) -> Any:  # dials are declared as floats, and take schedules
    """Return a rate that rises over the first tenth of the steps, if these are known."""
    return rate if steps is None else WarmUp(rate, max(1, steps // 10))
