"""Edits of the weights on both sides of the optimizer's step: decay before it, thresholds and projections after it."""

from poise.update.decay import Decay
from poise.update.elastic_net import ElasticNet
from poise.update.group_lasso import GroupLasso
from poise.update.hierarchical_lasso import HierarchicalLasso
from poise.update.l1 import L1
from poise.update.max_norm import MaxNorm
from poise.update.non_negative import NonNegative
from poise.update.unit_lasso import UnitLasso
from poise.update.unit_norm import UnitNorm

__all__ = [
    "L1",
    "Decay",
    "ElasticNet",
    "GroupLasso",
    "HierarchicalLasso",
    "MaxNorm",
    "NonNegative",
    "UnitLasso",
    "UnitNorm",
]
