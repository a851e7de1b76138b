"""One column per level of a category."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["Levels"]


@dataclass(frozen=True)
class Levels:
    """One-hot columns: the kept levels, then "missing" (if it occurred at fit), then "other"; every row sums to 1.

    A level of a single row is pooled into "other", because single rows are the fair sample of what an unseen level
    is like (Good 1953), unless every level is single. Of too many levels, only the most frequent are kept.
    """

    kept: tuple[str, ...]
    pooled: tuple[str, ...]  # seen at fit but in "other"; not told as unseen
    missing: bool
    many: bool  # more levels than allowed: new ones are normal, so they are not reported

    @classmethod
    def fit(cls, labels: np.ndarray, limit: int, missing: bool, weights: np.ndarray | None = None) -> "Levels":
        """Choose the levels of an object array of text (None where missing); weights count rows."""
        codes, found = pd.factorize(labels, use_na_sentinel=True)
        count = np.ones(len(labels)) if weights is None else weights
        sums = np.bincount(codes[codes >= 0], weights=count[codes >= 0], minlength=len(found))
        frequent = [str(found[i]) for i in np.argsort(-sums, kind="stable") if sums[i] >= 2]
        if len(found) > limit:
            floor = max(2.0, 1e-3 * sums.sum())  # a rarer level cannot train a weight of its own
            kept = frequent[: int((sums >= floor).sum())][:limit]
            return cls(tuple(sorted(kept)), (), missing, True)
        names = sorted(str(level) for level in found)
        kept = frequent or names
        return cls(tuple(sorted(kept)), tuple(sorted(set(names) - set(kept))), missing, False)

    @property
    def names(self) -> tuple[str, ...]:
        """Return one name per column: "=level", "is missing", "is other"."""
        return (*(f"={level}" for level in self.kept), *(("is missing",) if self.missing else ()), "is other")

    def encode(self, labels: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        """Return the one-hot float32 columns, and how often each label that was not seen at fit occurs."""
        index, known = pd.Index(self.kept, dtype=object), pd.Index(self.pooled, dtype=object)
        out = np.zeros((len(labels), len(self.names)), np.float32)
        gone = pd.isna(labels)
        places = index.get_indexer(pd.Index(labels, dtype=object))
        other = (places < 0) & ~(gone & self.missing)
        places[other] = len(self.names) - 1
        places[gone & self.missing] = len(self.kept)
        out[np.arange(len(labels)), places] = 1.0
        if self.many or not other.any():
            return out, {}
        strange = pd.Series(labels[other]).fillna("missing")
        return out, {str(label): int(n) for label, n in strange[~strange.isin(known)].value_counts().items()}

    def state(self) -> dict[str, Any]:
        """Return what `from_state` needs, as JSON values."""
        return {"kept": list(self.kept), "pooled": list(self.pooled), "missing": self.missing, "many": self.many}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Levels":
        """Rebuild from `state`."""
        return cls(tuple(state["kept"]), tuple(state["pooled"]), bool(state["missing"]), bool(state["many"]))
