"""Before training: layers inserted into the network (dropout, noise in units and weights, normalisation)."""

from poise.network.batch_norm import BatchNorm
from poise.network.drop_connect import DropConnect
from poise.network.dropout import Dropout
from poise.network.hidden_noise import HiddenNoise
from poise.network.layer_norm import LayerNorm
from poise.network.statistics import reestimate
from poise.network.weight_noise import WeightNoise

__all__ = ["BatchNorm", "DropConnect", "Dropout", "HiddenNoise", "LayerNorm", "WeightNoise", "reestimate"]
