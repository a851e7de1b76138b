"""The weights that evaluation uses: averages over the training run."""

from poise.average.ema import Ema
from poise.average.lookahead import Lookahead
from poise.average.schedule_free import ScheduleFree
from poise.average.swa import Swa

__all__ = ["Ema", "Lookahead", "ScheduleFree", "Swa"]
