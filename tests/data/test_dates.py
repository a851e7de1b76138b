"""Dates that come in another form than those that were learned from."""

import numpy as np
import pandas as pd
import pytest

from poise.core.errors import DataError, PoiseWarning
from poise.data import Encoder

TIMES = pd.Series(pd.to_datetime(["2020-01-31 06:00", "2021-05-01 00:00", "2022-03-03 00:00", "2023-12-24 18:30"]))


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y %H:%M"])
def test_text_is_read_where_times_were_learned(form: str) -> None:
    encoder = Encoder().fit({"d": TIMES})
    assert np.array_equal(encoder.transform({"d": TIMES.dt.strftime(form)}), encoder.transform({"d": TIMES}))


def test_a_text_that_is_no_date_is_missing_and_told_where_times_were_learned() -> None:
    encoder = Encoder().fit({"d": TIMES})
    with pytest.warns(PoiseWarning, match=r"column 'd', row 1: 'soon' and 0 more are not dates like those at fit"):
        encoded = encoder.transform({"d": ["2021-05-01", "soon"]})
    assert np.array_equal(encoded[0], encoder.transform({"d": TIMES})[1])
    assert (encoded[1] == 0).all()


@pytest.mark.parametrize("learned", [TIMES, TIMES.dt.strftime("%Y-%m-%d")])
def test_years_are_no_dates(learned: pd.Series) -> None:
    encoder = Encoder().fit({"d": learned})
    with pytest.raises(DataError, match="the column is numeric; it was date at fit"):
        encoder.transform({"d": [2020, 2021]})
