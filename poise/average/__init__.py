"""The weights that evaluation uses: averages over the training run, and over several of them."""

from poise.average.ema import Ema
from poise.average.lookahead import Lookahead
from poise.average.schedule_free import ScheduleFree
from poise.average.soup import Soup, greedy_soup
from poise.average.swa import Swa

__all__ = ["Ema", "Lookahead", "ScheduleFree", "Soup", "Swa", "greedy_soup"]
