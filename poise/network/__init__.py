"""Before training: layers inserted into the network (dropout, noise in units and weights, normalisation)."""

from poise.network.activation_penalty import ActivationPenalty
from poise.network.alpha_dropout import AlphaDropout
from poise.network.attention_dropout import AttentionDropout
from poise.network.batch_ensemble import BatchEnsemble
from poise.network.batch_norm import BatchNorm
from poise.network.cross_stitch import CrossStitch
from poise.network.drop_block import DropBlock
from poise.network.drop_connect import DropConnect
from poise.network.drop_path import DropPath
from poise.network.dropout import Dropout
from poise.network.embedding_dropout import EmbeddingDropout
from poise.network.front_scale import FrontScale
from poise.network.gaussian_dropout import GaussianDropout
from poise.network.ghost_batch_norm import GhostBatchNorm
from poise.network.group_norm import GroupNorm
from poise.network.hidden_noise import HiddenNoise
from poise.network.insertion import InsertedParts, insert
from poise.network.layer_norm import LayerNorm
from poise.network.locked_dropout import LockedDropout
from poise.network.manifold_mixup import ManifoldMixup
from poise.network.multi_task import MultiTask
from poise.network.recurrent_drop_connect import RecurrentDropConnect
from poise.network.remove import remove
from poise.network.rms_norm import RmsNorm
from poise.network.shake_drop import ShakeDrop
from poise.network.shake_shake import ShakeShake
from poise.network.spatial_dropout import SpatialDropout
from poise.network.spectral_norm import SpectralNorm
from poise.network.statistics import reestimate
from poise.network.temporal_penalty import TemporalPenalty
from poise.network.weight_noise import WeightNoise
from poise.network.weight_norm import WeightNorm
from poise.network.weight_standardization import WeightStandardization

__all__ = [
    "ActivationPenalty",
    "AlphaDropout",
    "AttentionDropout",
    "BatchEnsemble",
    "BatchNorm",
    "CrossStitch",
    "DropBlock",
    "DropConnect",
    "DropPath",
    "Dropout",
    "EmbeddingDropout",
    "FrontScale",
    "GaussianDropout",
    "GhostBatchNorm",
    "GroupNorm",
    "HiddenNoise",
    "InsertedParts",
    "LayerNorm",
    "LockedDropout",
    "ManifoldMixup",
    "MultiTask",
    "RecurrentDropConnect",
    "RmsNorm",
    "ShakeDrop",
    "ShakeShake",
    "SpatialDropout",
    "SpectralNorm",
    "TemporalPenalty",
    "WeightNoise",
    "WeightNorm",
    "WeightStandardization",
    "insert",
    "reestimate",
    "remove",
]
