"""Small reference networks, layers that share no weights, and weight tying."""

from poise.models.locally_connected import LocallyConnected2d, unshared
from poise.models.recurrent_net import RecurrentNet
from poise.models.res_net import ResNet
from poise.models.small_cnn import SmallCnn
from poise.models.small_transformer import SmallTransformer
from poise.models.tabular import Mlp, TabularNet
from poise.models.tie import tie
from poise.models.untied_rnn import UntiedRnn
from poise.models.vision_transformer import VisionTransformer
from poise.models.wide_res_net import WideResNet

__all__ = [
    "LocallyConnected2d",
    "Mlp",
    "RecurrentNet",
    "ResNet",
    "SmallCnn",
    "SmallTransformer",
    "TabularNet",
    "UntiedRnn",
    "VisionTransformer",
    "WideResNet",
    "tie",
    "unshared",
]
