"""What a selection of features found: by strength, by order of leaving, by share of the random halves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["FeatureSelection"]


@dataclass(frozen=True, eq=False)
class FeatureSelection:
    """The outcome of `select_features`.

    Shapes: `strengths` (S,), rising; `kept` (S, F) bool, the features left at each; `scores` (S,), of a network
    trained anew on these features alone, on held-out rows, lower is better, in the unit that `measure` names; `margin`:
    one standard error of the best; `chosen`: names; `frequencies` (F,): the share of random halves in which a feature
    was selected, and `cutoff`, or None. The score that chose a set flatters it a little: report one on other rows.
    """

    features: tuple[str, ...]
    strengths: np.ndarray
    kept: np.ndarray
    scores: np.ndarray
    margin: float
    chosen: tuple[str, ...]
    frequencies: np.ndarray | None
    cutoff: float | None
    measure: str

    @property
    def counts(self) -> np.ndarray:
        """The number of features left at each strength, (S,)."""
        return np.asarray(self.kept.sum(1))

    @property
    def leaves(self) -> dict[str, float]:
        """The strength from which each feature is out for good: inf if it never leaves, the first if never in."""
        found = {}
        for place, name in enumerate(self.features):
            inside = np.flatnonzero(self.kept[:, place])
            last = int(inside[-1]) + 1 if len(inside) else 0
            found[name] = float(self.strengths[last]) if last < len(self.strengths) else float("inf")
        return found

    @property
    def order(self) -> tuple[str, ...]:
        """The features from the last to leave to the first; by frequency, if halves were drawn."""
        leaves = self.leaves
        shares = dict(zip(self.features, np.zeros(len(self.features)), strict=True))
        if self.frequencies is not None:
            shares = dict(zip(self.features, self.frequencies, strict=True))
        return tuple(sorted(self.features, key=lambda name: (-shares[name], -leaves[name])))

    def table(self, most: int = 20) -> str:
        """Return two tables as text: the path, and the first features in order."""
        lines = [f"  strength  features  {self.measure}"]
        for strength, count, score in zip(self.strengths, self.counts, self.scores, strict=True):
            lines.append(f"{strength:10.4g}  {count:8d}  {score:.4f}")
        shares = self.frequencies is not None
        width = max(7, *(len(name) for name in self.order[:most]))
        lines += ["", f"{'feature':<{width}}  leaves at" + ("  selected in" if shares else "") + "  chosen"]
        for name in self.order[:most]:
            share = f"  {self.frequencies[self.features.index(name)]:>11.0%}" if self.frequencies is not None else ""
            lines.append(f"{name:<{width}}  {self.leaves[name]:9.4g}{share}  {'yes' if name in self.chosen else ''}")
        rest = len(self.features) - most
        return "\n".join(line.rstrip() for line in [*lines, *([f"and {rest} more"] if rest > 0 else [])])
