"""poise: the system for regularization in PyTorch.

Public names are imported at their first use, so that `poise --help` starts without torch.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# MKL's sums otherwise depend on where in memory a matrix begins, so a member of a population would differ in the last
# bit from the same network alone. Read by MKL at its first product; measured to cost nothing (docs/population.md).
os.environ.setdefault("MKL_CBWR", "AUTO")

if TYPE_CHECKING:
    from poise import models, recipes
    from poise.average import Ema, Lookahead, ScheduleFree, Swa
    from poise.batch import (
        Affine,
        AugMix,
        Blur,
        ColorJitter,
        Crop,
        CutMix,
        Cutout,
        Equalize,
        Flip,
        Grayscale,
        GridMask,
        InputNoise,
        LabelSmoothing,
        Mixup,
        MixupOrCutMix,
        Posterize,
        RandAugment,
        RandomErasing,
        RandomResizedCrop,
        Sharpness,
        Solarize,
        SwapNoise,
        TrivialAugment,
    )
    from poise.core.errors import ArgumentError, CheckpointError, DataError, PoiseError, PoiseWarning, StudyError
    from poise.core.recipe import Recipe
    from poise.core.regularizer import Regularizer
    from poise.core.schedule import Constant, Cosine, CosineCycles, Linear, OneCycle, SwitchOff, WarmUp
    from poise.diagnosis import GapMeter, equivariance_error, gap, learning_curve, memorization, sharing_report
    from poise.gradient import (
        AdaptiveClip,
        CaGrad,
        Centralize,
        ClipNorm,
        ClipValue,
        GradientNoise,
        GradVac,
        PcGrad,
        Sam,
    )
    from poise.models import tie
    from poise.models.pruning import prune_units
    from poise.network import (
        ActivationPenalty,
        AlphaDropout,
        AttentionDropout,
        BatchEnsemble,
        BatchNorm,
        CrossStitch,
        DropBlock,
        DropConnect,
        Dropout,
        DropPath,
        EmbeddingDropout,
        FrontScale,
        GaussianDropout,
        GhostBatchNorm,
        GroupNorm,
        HiddenNoise,
        LayerNorm,
        LockedDropout,
        ManifoldMixup,
        MultiTask,
        RecurrentDropConnect,
        RmsNorm,
        ShakeDrop,
        ShakeShake,
        SpatialDropout,
        SpectralNorm,
        TemporalPenalty,
        WeightNoise,
        WeightNorm,
        WeightStandardization,
        insert,
    )
    from poise.objective import (
        L2,
        Adversarial,
        ConfidencePenalty,
        Distillation,
        DynamicWeights,
        GradNorm,
        InputGradientPenalty,
        JacobianPenalty,
        Orthogonal,
        PullToStart,
        RDrop,
        SoftSharing,
        SpectralDecoupling,
        TaskLosses,
        TaskWeight,
        UncertaintyWeights,
        VirtualAdversarial,
    )
    from poise.predict import AugmentationAtTest, DropoutAtTest, Ensemble, SnapshotEnsemble, Swag, Temperature
    from poise.stop import Budget, Patience
    from poise.study.estimators import Classifier, Regressor
    from poise.study.feature_selection import select_features
    from poise.update import (
        L1,
        Decay,
        ElasticNet,
        GroupLasso,
        HierarchicalLasso,
        MaxNorm,
        NonNegative,
        UnitLasso,
        UnitNorm,
    )

__version__ = "0.1.0"  # the same stands in pyproject.toml

__all__ = [
    "L1",
    "L2",
    "ActivationPenalty",
    "AdaptiveClip",
    "Adversarial",
    "Affine",
    "AlphaDropout",
    "ArgumentError",
    "AttentionDropout",
    "AugMix",
    "AugmentationAtTest",
    "BatchEnsemble",
    "BatchNorm",
    "Blur",
    "Budget",
    "CaGrad",
    "Centralize",
    "CheckpointError",
    "Classifier",
    "ClipNorm",
    "ClipValue",
    "ColorJitter",
    "ConfidencePenalty",
    "Constant",
    "Cosine",
    "CosineCycles",
    "Crop",
    "CrossStitch",
    "CutMix",
    "Cutout",
    "DataError",
    "Decay",
    "Distillation",
    "DropBlock",
    "DropConnect",
    "DropPath",
    "Dropout",
    "DropoutAtTest",
    "DynamicWeights",
    "ElasticNet",
    "Ema",
    "EmbeddingDropout",
    "Ensemble",
    "Equalize",
    "Flip",
    "FrontScale",
    "GapMeter",
    "GaussianDropout",
    "GhostBatchNorm",
    "GradNorm",
    "GradVac",
    "GradientNoise",
    "Grayscale",
    "GridMask",
    "GroupLasso",
    "GroupNorm",
    "HiddenNoise",
    "HierarchicalLasso",
    "InputGradientPenalty",
    "InputNoise",
    "JacobianPenalty",
    "LabelSmoothing",
    "LayerNorm",
    "Linear",
    "LockedDropout",
    "Lookahead",
    "ManifoldMixup",
    "MaxNorm",
    "Mixup",
    "MixupOrCutMix",
    "MultiTask",
    "NonNegative",
    "OneCycle",
    "Orthogonal",
    "Patience",
    "PcGrad",
    "PoiseError",
    "PoiseWarning",
    "Posterize",
    "PullToStart",
    "RDrop",
    "RandAugment",
    "RandomErasing",
    "RandomResizedCrop",
    "Recipe",
    "RecurrentDropConnect",
    "Regressor",
    "Regularizer",
    "RmsNorm",
    "Sam",
    "ScheduleFree",
    "ShakeDrop",
    "ShakeShake",
    "Sharpness",
    "SnapshotEnsemble",
    "SoftSharing",
    "Solarize",
    "SpatialDropout",
    "SpectralDecoupling",
    "SpectralNorm",
    "StudyError",
    "Swa",
    "Swag",
    "SwapNoise",
    "SwitchOff",
    "TaskLosses",
    "TaskWeight",
    "Temperature",
    "TemporalPenalty",
    "TrivialAugment",
    "UncertaintyWeights",
    "UnitLasso",
    "UnitNorm",
    "VirtualAdversarial",
    "WarmUp",
    "WeightNoise",
    "WeightNorm",
    "WeightStandardization",
    "__version__",
    "equivariance_error",
    "gap",
    "insert",
    "learning_curve",
    "memorization",
    "models",
    "prune_units",
    "recipes",
    "select_features",
    "sharing_report",
    "tie",
]

# All together, so that any public name has every regularizer declared and recipes can be read.
_CORE = (
    *("core.errors", "core.recipe", "core.regularizer", "core.schedule"),
    *("network", "batch", "objective", "gradient", "update", "average", "stop", "predict"),
)
# One by one: most of these need more than torch, or time to import.
_LATER = {
    "Classifier": "study.estimators",
    "GapMeter": "diagnosis",
    "Regressor": "study.estimators",
    "equivariance_error": "diagnosis",
    "gap": "diagnosis",
    "learning_curve": "diagnosis",
    "memorization": "diagnosis",
    "prune_units": "models.pruning",
    "select_features": "study.feature_selection",
    "sharing_report": "diagnosis",
    "tie": "models",
}


def __getattr__(name: str) -> Any:
    if name in (*_CORE, "models", "recipes"):
        return importlib.import_module(f"poise.{name}")  # `import poise; poise.batch.Mixup`
    if name not in __all__:
        raise AttributeError(f"module 'poise' has no attribute {name!r}")
    for home in [_LATER[name]] if name in _LATER else _CORE:
        module = importlib.import_module(f"poise.{home}")
        globals().update({public: getattr(module, public) for public in module.__all__ if public in __all__})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
