"""Before training: layers inserted into the network (dropout, noise in units and weights, normalisation)."""

from poise.network.batch_norm import BatchNorm
from poise.network.cross_stitch import CrossStitch
from poise.network.drop_connect import DropConnect
from poise.network.drop_path import DropPath
from poise.network.dropout import Dropout
from poise.network.hidden_noise import HiddenNoise
from poise.network.layer_norm import LayerNorm
from poise.network.multi_task import MultiTask
from poise.network.shake_drop import ShakeDrop
from poise.network.shake_shake import ShakeShake
from poise.network.statistics import reestimate
from poise.network.weight_noise import WeightNoise

__all__ = [
    "BatchNorm",
    "CrossStitch",
    "DropConnect",
    "DropPath",
    "Dropout",
    "HiddenNoise",
    "LayerNorm",
    "MultiTask",
    "ShakeDrop",
    "ShakeShake",
    "WeightNoise",
    "reestimate",
]
