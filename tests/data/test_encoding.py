from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import OneHotEncoder
from skrub import DatetimeEncoder, SquashingScaler, StringEncoder

from poise.core.errors import ArgumentError, DataError, PoiseWarning
from poise.data import Encoder, read
from poise.data.letters import Letters, ngram_counts
from poise.data.squash import quantiles

WORDS = ["Red car", "blue  Bike", "a b", "x", "", "the red bike", "Ab c\td", "bluebird"]


def numbers(rows: int = 301) -> np.ndarray:
    values = np.random.default_rng(0).standard_cauchy((rows, 5))
    values[:, 1] = np.round(values[:, 1] * 0.1)  # equal quartiles: scaled by the range
    values[:, 2] = 7.0
    values[:, 3] *= 1e30
    values[:, 4] = np.arange(rows)
    return values


@pytest.mark.parametrize("clip", [0.5, 3.0, 10.0])
def test_numbers_equal_skrub_squashing_scaler(clip: float) -> None:
    values = numbers()
    ours = Encoder(clip=clip).fit(values[:200]).transform(values)
    theirs = SquashingScaler(max_absolute_value=clip).fit(values[:200]).transform(values)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-7)


def test_missing_numbers_become_the_median_and_an_indicator() -> None:
    table = pd.DataFrame({"a": [1.0, np.nan, 3.0, 5.0]})
    encoded = Encoder().fit(table).transform(table)
    whole = Encoder().fit({"a": [1.0, 3.0, 5.0]}).transform({"a": [1.0, 3.0, 3.0, 5.0]})
    assert np.array_equal(encoded[:, 0], whole[:, 0])
    assert encoded[:, 1].tolist() == [0, 1, 0, 0]


def test_columns_without_a_value_are_left_out_where_asked() -> None:
    table = pd.DataFrame({"a": [1.0, 2.0, np.nan, 4.0], "b": np.nan, "c": list("xyxy"), "d": pd.Series([None] * 4)})
    encoder = Encoder(empty="drop")
    with pytest.warns(PoiseWarning, match=r"column 'b': all 4 values are missing\. So are all of \['d'\]") as told:
        encoder.fit(table)
    assert len(told) == 1
    assert encoder.input_names == ("a", "b", "c", "d")
    own = Encoder().fit(table[["a", "c"]])
    assert encoder.names == own.names
    assert encoder.groups.tolist() == own.groups.tolist()
    encoded = own.transform(table[["a", "c"]])
    assert np.array_equal(encoder.transform(table), encoded)
    assert np.array_equal(encoder.transform(table.assign(b=7.0, d="value")), encoded)
    assert np.array_equal(Encoder.from_state(*encoder.state()).transform(table), encoded)
    with pytest.raises(DataError, match="1 missing"):
        encoder.transform(table[["a", "b", "c"]])
    with pytest.raises(DataError, match=r"all 4 values are missing.*No other column is left"):
        encoder.fit(table[["b", "d"]])


def test_quantiles_equal_numpy_and_whole_weights_are_copies() -> None:
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=50), rng.integers(1, 6, 50).astype(float)
    shares = [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(quantiles(values), np.quantile(values, shares), rtol=1e-14)
    repeated = np.repeat(values, weights.astype(int))
    np.testing.assert_allclose(quantiles(values, weights), np.quantile(repeated, shares), rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-3, 1 / 3, 1e7 / 3])
def test_the_unit_of_weights_changes_nothing(scale: float) -> None:
    table = {"few": ["a", "a", "b", "b", "once"] * 3, "many": [f"{i // 3}" for i in range(15)], "x": range(15)}
    weights = np.linspace(0.5, 1.5, 15)
    for own in (np.ones(15), weights):
        encoders = [Encoder(max_levels=3).fit(table, weights=one) for one in (own, scale * own)]
        assert encoders[0].names == encoders[1].names
        np.testing.assert_allclose(*(encoder.transform(table) for encoder in encoders), rtol=1e-5)


def test_levels_equal_sklearn_one_hot() -> None:
    rng = np.random.default_rng(2)
    column = rng.choice(["red", "green", "blue"], (100, 1)).astype(object)
    encoder = Encoder().fit(pd.DataFrame(column, columns=["c"]))
    theirs = OneHotEncoder(sparse_output=False).fit(column)
    ours = encoder.transform({"c": column[:, 0]})
    assert encoder.names == ("c =blue", "c =green", "c =red", "c is other")
    assert np.array_equal(ours[:, :3], theirs.transform(column))
    assert (ours[:, 3] == 0).all()


def test_a_level_of_one_row_trains_the_column_of_unseen_levels() -> None:
    table = {"c": ["a", "a", "b", "b", "once"]}
    encoder = Encoder().fit(table)
    assert encoder.transform(table).tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_levels_of_any_type_match_by_their_label() -> None:
    encoder = Encoder().fit({"c": pd.Categorical([1, 2, 1, 2])})
    assert encoder.names == ("c =1", "c =2", "c is other")
    assert encoder.transform({"c": [2.0, 1.0]}).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_too_many_levels_keep_the_frequent_and_describe_the_rest_by_letters() -> None:
    rng = np.random.default_rng(3)
    rare = [f"rare{i}" for i in range(200)]
    table = pd.DataFrame({"c": rng.permutation(["often"] * 100 + ["much"] * 50 + rare)})
    encoder = Encoder(max_levels=8).fit(table)
    assert encoder.group_names == ("c", "c letters")
    assert encoder.kinds == ("category", "numeric")
    assert encoder.names[:3] == ("c =much", "c =often", "c is other")
    assert encoder.groups.tolist() == [0] * 3 + [1] * 8
    encoded = encoder.transform(pd.DataFrame({"c": ["new1", "often"]}))  # new levels are normal here: no warning
    assert encoded[:, :3].tolist() == [[0, 0, 1], [0, 1, 0]]


def test_one_warning_names_every_column_with_unseen_levels() -> None:
    encoder = Encoder().fit({"a": ["x", "y"] * 3, "b": ["u", "v"] * 3})
    with pytest.warns(PoiseWarning) as told:
        encoder.transform({"a": ["x", "new"], "b": [None, "v"]})
    assert len(told) == 1
    assert "column 'a': 1 level unseen at fit, in 1 row ('new' 1)" in str(told[0].message)
    assert "column 'b': 1 level unseen at fit, in 1 row ('missing' 1)" in str(told[0].message)


def test_ngrams_equal_sklearn() -> None:
    theirs = CountVectorizer(analyzer="char_wb", ngram_range=(3, 4)).fit_transform(WORDS)
    ours = ngram_counts(WORDS, 2**22)  # so many columns that no two n-grams meet
    assert np.array_equal(np.sort(ours.toarray().sum(axis=1)), np.sort(np.asarray(theirs.sum(axis=1)).ravel()))
    np.testing.assert_array_equal((ours @ ours.T).toarray(), (theirs @ theirs.T).toarray())


def test_weights_of_ngrams_equal_sklearn() -> None:
    labels = np.array(WORDS, dtype=object)
    idf = Letters.fit(labels, 3, 2**20).idf
    theirs = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4)).fit_transform(WORDS)
    ours = ngram_counts(WORDS, 2**20) @ scipy.sparse.diags_array(idf.astype(np.float64))
    lengths = np.sqrt(np.asarray(ours.multiply(ours).sum(axis=1)).ravel())
    unit = scipy.sparse.diags_array(1 / np.where(lengths > 0, lengths, 1)) @ ours
    np.testing.assert_allclose((unit @ unit.T).toarray(), (theirs @ theirs.T).toarray(), atol=1e-6)


def test_text_spans_what_skrub_string_encoder_spans() -> None:
    rng = np.random.default_rng(4)
    words = ["river", "mountain", "valley", "ocean", "desert", "forest", "island", "glacier"]
    texts = pd.Series([" ".join(rng.choice(words, 6)) for _ in range(200)], name="t")
    encoder = Encoder().fit(texts.to_frame())
    ours = encoder.transform(texts.to_frame())
    theirs = StringEncoder(30, random_state=0).fit_transform(texts).to_numpy()
    assert encoder.kinds == ("numeric",)
    assert ours.shape == theirs.shape == (200, 30)
    np.testing.assert_allclose(ours.var(axis=0).sum(), 1.0, rtol=1e-3)
    match = np.corrcoef((ours @ ours.T).ravel(), (theirs @ theirs.T).ravel())[0, 1]
    assert match > 0.99
    shuffled = ours[rng.permutation(200)]  # the check must catch a wrong encoding
    assert np.corrcoef((shuffled @ shuffled.T).ravel(), (theirs @ theirs.T).ravel())[0, 1] < 0.9


def test_missing_text_is_zero_and_told() -> None:
    texts = [f"some words that differ in number {i}" for i in range(20)] + [None]
    encoder = Encoder().fit({"t": texts})
    encoded = encoder.transform({"t": texts})
    assert (encoded[-1, :-1] == 0).all()
    assert encoded[:, -1].tolist() == [0] * 20 + [1]


def test_dates_equal_skrub_and_keep_seconds_exact() -> None:
    times = pd.Series(pd.Timestamp("2024-02-28 05:00") + pd.to_timedelta(np.arange(50) * 37, unit="h"), name="d")
    encoder = Encoder().fit(times.to_frame())
    ours = pd.DataFrame(encoder.transform(times.to_frame()), columns=encoder.names)
    theirs = DatetimeEncoder(add_weekday=True, periodic_encoding="circular").fit_transform(times)
    for part in ("month", "day", "weekday", "hour"):
        for ours_name, theirs_name in (("sine", "circular_0"), ("cosine", "circular_1")):
            column = next(name for name in theirs.columns if name.endswith(f"{part}_{theirs_name}"))
            np.testing.assert_allclose(ours[f"d {part} {ours_name}"], theirs[column], atol=1e-6)
    seconds = SquashingScaler().fit_transform((times.astype("datetime64[s]").astype(np.int64)).to_numpy()[:, None])
    np.testing.assert_allclose(ours["d seconds"], seconds[:, 0], rtol=1e-5, atol=1e-7)
    assert encoder.kinds == ("numeric",)


def test_dates_as_text_follow_the_format_of_the_fit() -> None:
    texts = [f"{day:02d}/0{month}/2023" for day in range(27, 0, -1) for month in (1, 2)]
    times = pd.to_datetime(pd.Series(texts), format="%d/%m/%Y")
    encoder = Encoder().fit({"d": texts})
    assert np.array_equal(encoder.transform({"d": texts}), Encoder().fit({"d": times}).transform({"d": times}))
    with pytest.warns(PoiseWarning, match=r"column 'd', row 1: 'soon' and 0 more are not dates"):
        encoded = encoder.transform({"d": ["01/01/2023", "soon"]})
    assert (encoded[1] == 0).all()


def test_far_dates_are_dates() -> None:
    encoded = Encoder().fit({"d": ["9999-12-31", "0001-01-01"] * 4}).transform({"d": ["9999-12-31", "0001-01-01"]})
    assert np.isfinite(encoded).all()
    assert encoded[0, 0] > 0.4 > -0.4 > encoded[1, 0]


def test_a_zone_changes_nothing_but_the_clock() -> None:
    times = pd.Series(pd.date_range("2020-01-01", periods=30, freq="5h", tz="UTC"))
    wanted = Encoder().fit({"d": times}).transform({"d": times})
    moved = times.dt.tz_convert("Asia/Tokyo")
    assert np.array_equal(Encoder().fit({"d": moved}).transform({"d": moved}), wanted)


def test_groups_cover_the_columns() -> None:
    table = {
        "n": [1.0, None, 3.0, 4.0],
        "b": [True, False, None, True],
        "c": ["x", "y", "x", None],
        "d": pd.to_datetime(["2020-01-01", None, "2020-01-03", "2020-01-04"]),
    }
    encoder = Encoder().fit(table)
    assert encoder.input_names == ("n", "b", "c", "d")
    assert encoder.group_names == ("n", "n is missing", "b", "b is missing", "c", "d", "d is missing")
    assert encoder.kinds == ("numeric", "category", "category", "category", "category", "numeric", "category")
    assert encoder.groups.tolist() == [0, 1, 2, 3, 4, 4, 4, *([5] * 7), 6]
    encoded = encoder.transform(table)
    assert encoded[:, encoder.groups == 4].sum(axis=1).tolist() == [1, 1, 1, 1]
    assert encoded[:, 2].tolist() == [1, 0, 1, 1]


def test_rows_are_encoded_one_by_one_as_together() -> None:
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        {"n": rng.normal(size=40), "c": rng.choice(list("ab"), 40), "t": [f"word {i} of many" for i in range(40)]}
    )
    encoder = Encoder().fit(table)
    whole = encoder.transform(table)
    single = np.concatenate([encoder.transform(table.iloc[[i]]) for i in range(40)])
    np.testing.assert_allclose(single, whole, rtol=1e-6, atol=1e-7)


def test_the_table_is_not_changed() -> None:
    table = pd.DataFrame({"n": [3.0, None, 1.0], "c": ["x", None, "y"]}, index=[5, 5, 7])
    before = table.copy()
    Encoder().fit(table).transform(table)
    pd.testing.assert_frame_equal(table, before)


def test_a_column_of_another_type_at_transform_is_refused() -> None:
    encoder = Encoder().fit({"a": [1.0, 2.0, 3.0], "b": [True, False, True]})
    for values, row, found in (
        (["1.5", None, "x"], 2, "'x' makes the column category"),
        ([None, "1,5"], 1, "'1,5' makes the column category"),
        ([None, "2020-01-31"], 1, "'2020-01-31' makes the column date"),
    ):
        with pytest.raises(DataError, match=f"column 'a', row {row}: {found}; it was numeric at fit"):
            encoder.transform({"a": values, "b": [True] * len(values)})
    with pytest.raises(DataError, match=r"column 'b', row 1: 2.0 must be True or False"):
        encoder.transform({"a": [1.0, 1.0], "b": [1, 2]})


def test_new_rows_of_a_file_are_read_as_those_of_the_fit_were(tmp_path: Path) -> None:
    fitted = {"n": [1.0, None, 3.0], "code": ["01", "2e1", "x"], "level": [1, 2, 3]}
    table = pd.DataFrame(fitted | {"level": pd.Categorical([1.0, 2.0, 3.0])})
    encoder = Encoder().fit(table)
    assert encoder.readings == {"n": "numbers", "code": "words"}
    again = Encoder.from_state(*encoder.state())
    assert again.readings == encoder.readings
    for row, line in enumerate(("1.0,01,1.0", "NA,2e1,2.0", "3.0,x,3.0")):
        (tmp_path / "new.csv").write_text(f"n,code,level\n{line}\n")
        new = read(tmp_path / "new.csv", readings=again.readings).frame
        assert np.array_equal(again.transform(new), encoder.transform(table.iloc[[row]])), line


def test_a_table_without_columns_lacks_those_of_the_fit() -> None:
    with pytest.raises(DataError, match="yet now missing:\n- a\n0 extra, 1 missing"):
        Encoder().fit({"a": [1.0, 2.0]}).transform(pd.DataFrame(index=range(2)))


def test_an_array_after_named_columns_is_taken_by_place_with_a_warning() -> None:
    encoder = Encoder().fit(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]}))
    with pytest.warns(PoiseWarning, match="X does not have valid feature names, but Encoder was fitted"):
        assert encoder.transform(np.array([[1.5, 4.0]])).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("clip", 0),
        ("clip", np.nan),
        ("clip", True),
        ("clip", "3"),
        ("max_levels", 0),
        ("max_levels", 1.5),
        ("missing", 1),
    ],
)
def test_arguments_are_checked(argument: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=rf"`Encoder.{argument}` must be .*; got {value!r}"):
        Encoder(**{argument: value})


def test_transform_before_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="not fitted yet"):
        Encoder().transform([[1.0]])
