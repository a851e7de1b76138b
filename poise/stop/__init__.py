"""When training ends."""

from poise.stop.budget import Budget
from poise.stop.patience import Patience

__all__ = ["Budget", "Patience"]
