"""Stage 1 of a step, the batch: augmentation, noise, mixing and smoothing of inputs and targets."""

from poise.batch.affine import Affine
from poise.batch.aug_mix import AugMix
from poise.batch.blur import Blur
from poise.batch.color_jitter import ColorJitter
from poise.batch.crop import Crop
from poise.batch.cut_mix import CutMix
from poise.batch.cutout import Cutout
from poise.batch.equalize import Equalize
from poise.batch.flip import Flip
from poise.batch.floats import to_floats
from poise.batch.grayscale import Grayscale
from poise.batch.grid_mask import GridMask
from poise.batch.input_noise import InputNoise
from poise.batch.label_smoothing import LabelSmoothing
from poise.batch.mixup import Mixup
from poise.batch.mixup_or_cut_mix import MixupOrCutMix
from poise.batch.posterize import Posterize
from poise.batch.rand_augment import RandAugment
from poise.batch.random_erasing import RandomErasing
from poise.batch.random_resized_crop import RandomResizedCrop
from poise.batch.sharpness import Sharpness
from poise.batch.solarize import Solarize
from poise.batch.swap_noise import SwapNoise
from poise.batch.trivial_augment import TrivialAugment

__all__ = [
    "Affine",
    "AugMix",
    "Blur",
    "ColorJitter",
    "Crop",
    "CutMix",
    "Cutout",
    "Equalize",
    "Flip",
    "Grayscale",
    "GridMask",
    "InputNoise",
    "LabelSmoothing",
    "Mixup",
    "MixupOrCutMix",
    "Posterize",
    "RandAugment",
    "RandomErasing",
    "RandomResizedCrop",
    "Sharpness",
    "Solarize",
    "SwapNoise",
    "TrivialAugment",
    "to_floats",
]
