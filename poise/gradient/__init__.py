"""Edits of the gradient, between the backward pass and the optimizer."""

from poise.gradient.adaptive_clip import AdaptiveClip
from poise.gradient.ca_grad import CaGrad
from poise.gradient.centralize import Centralize
from poise.gradient.clip_norm import ClipNorm
from poise.gradient.clip_value import ClipValue
from poise.gradient.grad_vac import GradVac
from poise.gradient.gradient_noise import GradientNoise
from poise.gradient.pc_grad import PcGrad
from poise.gradient.sam import Sam

__all__ = ["AdaptiveClip", "CaGrad", "Centralize", "ClipNorm", "ClipValue", "GradVac", "GradientNoise", "PcGrad", "Sam"]
