"""Edits of the gradient, between the backward pass and the optimizer."""

from poise.gradient.clip_norm import ClipNorm

__all__ = ["ClipNorm"]
