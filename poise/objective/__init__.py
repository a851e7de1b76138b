"""Terms added to the loss."""

from poise.objective.l2 import L2

__all__ = ["L2"]
