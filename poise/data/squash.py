"""Centre numbers at the median, scale by the interquartile range, and clip smoothly."""

from dataclasses import dataclass

import numpy as np

from poise.core.errors import DataError, shown

__all__ = ["Squash", "quantiles"]

HUGE = 1e150  # above it z * z overflows float64, and z / sqrt(1 + (z / clip)^2) is already clip to the last bit


@dataclass(frozen=True, eq=False)
class Squash:
    """Robust scaling and smooth clipping of numeric columns, as in RealMLP.

    z = (x - median) / (q75 - q25); where q75 = q25, z = 2 (x - median) / (max - min); a constant gives 0.
    out = z / sqrt(1 + (z / clip)^2), which lies in (-clip, clip). NaN gives 0: a missing number is the median.

    Neutral: clip = inf scales only. Shapes: center, spread (C,) float64; values (n, C). Units: none after scaling.
    Source: Holzmueller, Grinsztajn, Steinwart 2024 (arXiv 2407.04491); equal to skrub.SquashingScaler on finite values.

    >>> Squash.fit(["a"], np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]), clip=3.0).apply(np.array([[5.0]])).round(4)
    array([[0.9487]], dtype=float32)
    """

    center: np.ndarray
    spread: np.ndarray
    clip: float

    @classmethod
    def fit(cls, names: list[str], values: np.ndarray, clip: float, weights: np.ndarray | None = None) -> "Squash":
        """Measure median and spread of every column, NaN left out; whole weights count a row that many times.

        Raises: DataError when a column's range is beyond float64.
        """
        center, spread = np.zeros(values.shape[1]), np.zeros(values.shape[1])
        for i in range(values.shape[1]):
            present = ~np.isnan(values[:, i])
            if not present.any():
                continue  # center 0, spread 0: such a column is encoded as 0
            column = values[present, i]
            lowest, low, middle, high, highest = quantiles(column, None if weights is None else weights[present])
            with np.errstate(over="ignore"):
                center[i] = middle
                spread[i] = high - low if high > low else highest / 2 - lowest / 2
            if not np.isfinite(spread[i]):
                raise DataError(
                    f"column {shown(names[i])}: the range {lowest} .. {highest} is beyond float64. Rescale the column."
                )
        return cls(center, spread, clip)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the scaled float32 columns; all arithmetic before the last cast is float64."""
        out = np.empty(values.shape, np.float32)
        step = max(1, 2**20 // max(1, values.shape[1]))  # about 8 MB of float64 at a time
        for start in range(0, len(values), step):
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                z = (values[start : start + step] - self.center) / self.spread
            z[:, self.spread == 0] = 0.0
            np.clip(np.nan_to_num(z, copy=False, nan=0.0), -HUGE, HUGE, out=z)
            out[start : start + step] = z / np.sqrt(1 + (z / self.clip) ** 2)
        return out


def quantiles(values: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float, float, float, float]:
    """Return minimum, quartiles and maximum; weight w counts as w copies of the value (NumPy's linear rule).

    Weights that are not whole numbers are scaled so that the smallest one is 1.

    >>> quantiles(np.array([1.0, 3.0]), np.array([3.0, 1.0])) == quantiles(np.array([1.0, 1.0, 1.0, 3.0]))
    True
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    if weights is None:
        last = len(values) - 1.0
        ends = None
    else:
        counted = weights[order]
        counted = counted if (counted == np.floor(counted)).all() else counted / counted.min()
        ends = np.cumsum(counted)
        last = max(float(ends[-1]) - 1.0, 0.0)

    def at(share: float) -> float:
        place = share * last
        below, above = np.floor(place), np.ceil(place)
        places = np.array([below, above])
        i, j = places.astype(np.int64) if ends is None else np.searchsorted(ends, places, side="right")
        low, high = ordered[min(int(i), len(ordered) - 1)], ordered[min(int(j), len(ordered) - 1)]
        part = place - below
        # never overflows, unlike low + part * (high - low); but equal ends must give exactly that value
        return float(low if low == high else low * (1 - part) + high * part)

    return at(0.0), at(0.25), at(0.5), at(0.75), at(1.0)
