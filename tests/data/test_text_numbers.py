"""Numbers written as texts: frames are read as files are, but for what a frame's own types say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poise.core.errors import DataError
from poise.data import Encoder, read
from poise.data.text_numbers import with_numbers

READ = [
    ["1,234.50", "-7", "NA", "1,000,000"],
    ["$1,234", "$5.50"],
    ["12 %", "3.5 %", None],
    ["0.5", "1e-05", "?"],
    [" 1.5", "2 "],
]
WORDS = [
    ["01", "27"],
    ["2e1", "7"],
    ["5", None, "?"],
    ["1,5", "2,75"],
    ["$5", "5 %"],
    ["1.5", "n.k."],
    ["NA", "?"],
    ["12 kg"],
]


@pytest.mark.parametrize("texts", READ)
@pytest.mark.parametrize("dtype", [object, "string"])
def test_a_frame_is_read_as_the_file_with_the_same_texts_is(
    tmp_path: Path, texts: list[str | None], dtype: str
) -> None:
    frame = pd.DataFrame({"n": pd.Series(texts, dtype=dtype), "word": "x"})
    frame.to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_series_equal(with_numbers(frame)["n"], read(tmp_path / "t.csv").frame["n"])


@pytest.mark.parametrize("texts", WORDS)
def test_what_may_be_a_code_or_two_things_stays_a_word(texts: list[str | None]) -> None:
    frame = pd.DataFrame({"n": texts})
    assert with_numbers(frame) is frame


def test_what_pandas_calls_a_category_and_what_mixes_types_is_left_alone() -> None:
    frame = pd.DataFrame({"a": pd.Categorical(["1.5", "2.5"]), "b": pd.Series([1.5, "2.5"], dtype=object)})
    assert with_numbers(frame) is frame


def test_an_encoder_reads_texts_as_the_numbers_that_they_are_at_fit_and_later() -> None:
    values = [1234.5, 5.0, np.nan, 70.25]
    texts = pd.DataFrame({"price": ["$1,234.50", "$5.00", None, "$70.25"]}, index=[3, 4, 4, 9])
    encoder, plain = Encoder().fit(texts), Encoder().fit({"price": values})
    assert encoder.names == plain.names == ("price", "price is missing")
    wanted = plain.transform({"price": values})
    for told in (texts, {"price": values}, {"price": ["1234.5", "5", "NA", "70.25"]}):
        np.testing.assert_array_equal(encoder.transform(told), wanted)
        np.testing.assert_array_equal(plain.transform(told), wanted)
    assert encoder.readings == {"price": "numbers"}
    with pytest.raises(DataError, match=r"column 'price', row 1: 'free' makes the column category"):
        encoder.transform({"price": ["$5", "free"]})
