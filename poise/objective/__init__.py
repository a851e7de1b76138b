"""Terms added to the loss."""

from poise.objective.adversarial import Adversarial
from poise.objective.confidence_penalty import ConfidencePenalty
from poise.objective.distillation import Distillation
from poise.objective.dynamic_weights import DynamicWeights
from poise.objective.grad_norm import GradNorm
from poise.objective.input_gradient_penalty import InputGradientPenalty
from poise.objective.jacobian_penalty import JacobianPenalty
from poise.objective.l2 import L2
from poise.objective.orthogonal import Orthogonal
from poise.objective.pull_to_start import PullToStart
from poise.objective.r_drop import RDrop
from poise.objective.soft_sharing import SoftSharing
from poise.objective.spectral_decoupling import SpectralDecoupling
from poise.objective.task_losses import TaskLosses
from poise.objective.task_weight import TaskWeight
from poise.objective.uncertainty_weights import UncertaintyWeights
from poise.objective.virtual_adversarial import VirtualAdversarial

__all__ = [
    "L2",
    "Adversarial",
    "ConfidencePenalty",
    "Distillation",
    "DynamicWeights",
    "GradNorm",
    "InputGradientPenalty",
    "JacobianPenalty",
    "Orthogonal",
    "PullToStart",
    "RDrop",
    "SoftSharing",
    "SpectralDecoupling",
    "TaskLosses",
    "TaskWeight",
    "UncertaintyWeights",
    "VirtualAdversarial",
]
