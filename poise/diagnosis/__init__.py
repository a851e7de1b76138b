"""The generalization gap of any trained network, what it looks like, and which regularizers are worth trying first."""

from poise.diagnosis.curves import GapMeter, LearningCurve, learning_curve
from poise.diagnosis.gap import GapReport, gap
from poise.diagnosis.memorization import Memorization, memorization
from poise.diagnosis.sharing import SharingReport, equivariance_error, sharing_report
from poise.diagnosis.sparsity import LayerSparsity, sparsity

__all__ = [
    "GapMeter",
    "GapReport",
    "LayerSparsity",
    "LearningCurve",
    "Memorization",
    "SharingReport",
    "equivariance_error",
    "gap",
    "learning_curve",
    "memorization",
    "sharing_report",
    "sparsity",
]
