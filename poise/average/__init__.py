"""The weights that evaluation uses: averages over the training run."""

from poise.average.ema import Ema
from poise.average.swa import Swa

__all__ = ["Ema", "Swa"]
