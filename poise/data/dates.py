"""Describe a date by how long ago it is and where it lies in the year, the month, the week and the day."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poise.data.kinds import date_format, seconds_of, times_of
from poise.data.squash import Squash

__all__ = ["Dates"]

CYCLES = {"month": 12, "day": 30, "weekday": 7, "hour": 24}  # the periods of skrub.DatetimeEncoder


@dataclass(frozen=True, eq=False)
class Dates:
    """Seconds since 1970 (squashed in float64), and sine and cosine of month, day, weekday and, if it varies, hour.

    out = squash(seconds), sin(2 pi part / period), cos(2 pi part / period). A missing date gives 0 everywhere.
    Times with a zone are taken in UTC; the hour holds its minutes as a fraction.
    """

    form: str | None  # the format of a column of strings; None for real times
    clock: bool
    squash: Squash

    @classmethod
    def fit(cls, column: pd.Series, clip: float, weights: np.ndarray | None = None) -> "Dates":
        """Find the format, whether there is a time of day, and the scale of the seconds."""
        strings = pd.api.types.infer_dtype(column, skipna=True) == "string"
        form = date_format(column) if strings else None
        times = times_of(column, form)
        present = times.dropna()
        clock = bool((present != present.dt.normalize()).any())
        return cls(form, clock, Squash.fit([str(column.name)], seconds_of(times)[:, None], clip, weights))

    @property
    def names(self) -> tuple[str, ...]:
        """Return one name per column."""
        return ("seconds", *(f"{part} {wave}" for part in self._parts for wave in ("sine", "cosine")))

    @property
    def _parts(self) -> tuple[str, ...]:
        return tuple(part for part in CYCLES if part != "hour" or self.clock)

    def times(self, column: pd.Series) -> pd.Series:
        """Return the column as times; what does not follow the format is missing.

        Of a fit on real times, text follows a format of its own, or the one in which programs write times.
        """
        text = self.form is None and pd.api.types.infer_dtype(column, skipna=True) == "string"
        return times_of(column, (date_format(column) or "ISO8601") if text else self.form)

    def encode(self, times: pd.Series) -> np.ndarray:
        """Return the float32 columns of a series of times."""
        values = {
            "month": times.dt.month,
            "day": times.dt.day,
            "weekday": times.dt.day_of_week + 1,
            "hour": times.dt.hour + times.dt.minute / 60,
        }
        columns = [self.squash.apply(seconds_of(times)[:, None])]
        for part in self._parts:
            angle = 2 * np.pi * values[part].to_numpy(np.float64) / CYCLES[part]
            columns += [np.nan_to_num(np.sin(angle))[:, None], np.where(np.isnan(angle), 0.0, np.cos(angle))[:, None]]
        return np.concatenate(columns, axis=1).astype(np.float32)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return JSON values and arrays for `from_state`."""
        arrays = {"center": self.squash.center, "spread": self.squash.spread}
        return {"form": self.form, "clock": self.clock, "clip": self.squash.clip}, arrays

    @classmethod
    def from_state(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Dates":
        """Rebuild from `state`."""
        squash = Squash(np.asarray(arrays["center"]), np.asarray(arrays["spread"]), float(state["clip"]))
        return cls(state["form"], bool(state["clock"]), squash)
