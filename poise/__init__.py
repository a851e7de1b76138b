"""poise: the system for regularization in PyTorch."""

from poise.average import Ema, Swa
from poise.batch import CutMix, InputNoise, LabelSmoothing, Mixup, SwapNoise
from poise.core.errors import ArgumentError, CheckpointError, DataError, PoiseError, PoiseWarning, StudyError
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.schedule import Constant, Cosine, Linear, OneCycle, SwitchOff, WarmUp
from poise.gradient import ClipNorm
from poise.network import BatchNorm, DropConnect, Dropout, HiddenNoise, LayerNorm, WeightNoise
from poise.objective import L2
from poise.predict import Ensemble
from poise.stop import Budget, Patience
from poise.update import L1, Decay, ElasticNet, GroupLasso, MaxNorm

__version__ = "0.1.0"

__all__ = [
    "L1",
    "L2",
    "ArgumentError",
    "BatchNorm",
    "Budget",
    "CheckpointError",
    "ClipNorm",
    "Constant",
    "Cosine",
    "CutMix",
    "DataError",
    "Decay",
    "DropConnect",
    "Dropout",
    "ElasticNet",
    "Ema",
    "Ensemble",
    "GroupLasso",
    "HiddenNoise",
    "InputNoise",
    "LabelSmoothing",
    "LayerNorm",
    "Linear",
    "MaxNorm",
    "Mixup",
    "OneCycle",
    "Patience",
    "PoiseError",
    "PoiseWarning",
    "Recipe",
    "Regularizer",
    "StudyError",
    "SwapNoise",
    "Swa",
    "SwitchOff",
    "WarmUp",
    "WeightNoise",
    "__version__",
]
