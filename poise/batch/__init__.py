"""Stage 1 of a step, the batch: noise, mixing and smoothing of inputs and targets."""

from poise.batch.cut_mix import CutMix
from poise.batch.input_noise import InputNoise
from poise.batch.label_smoothing import LabelSmoothing
from poise.batch.mixup import Mixup
from poise.batch.swap_noise import SwapNoise

__all__ = ["CutMix", "InputNoise", "LabelSmoothing", "Mixup", "SwapNoise"]
