"""Edits of the weights on both sides of the optimizer's step: decay before it, thresholds and projections after it."""

from poise.update.decay import Decay
from poise.update.elastic_net import ElasticNet
from poise.update.group_lasso import GroupLasso
from poise.update.l1 import L1
from poise.update.max_norm import MaxNorm

__all__ = ["L1", "Decay", "ElasticNet", "GroupLasso", "MaxNorm"]
