"""The bad inputs of the reliability table that concern data, by their number there."""

import datetime
import decimal
import random
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

from poise.core.errors import DataError, PoiseWarning
from poise.data import Encoder, Target, inspect, read, split

CASES: dict[int, Callable[[Path], None]] = {}
ROWS = np.arange(24.0).reshape(8, 3)


def item(number: int) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def keep(case: Callable[[Path], None]) -> Callable[[Path], None]:
        CASES[number] = case
        return case

    return keep


def frame(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(8.0), **columns})


@item(1)
def nan_at_fit(_: Path) -> None:
    table = frame(b=[1.0, 2, 3, np.nan, 5, 6, 7, np.nan])
    with pytest.raises(DataError, match=r"column 'b', row 3: the value is missing"):
        Encoder(missing="error").fit(table)
    encoder = Encoder().fit(table)
    assert encoder.names == ("a", "b", "b is missing")
    assert np.isfinite(encoder.transform(table)).all()


@item(2)
def infinity_at_fit(_: Path) -> None:
    with pytest.raises(DataError, match=r"column 'b', row 2: inf is infinity"):
        Encoder().fit(frame(b=[1.0, 2, np.inf, np.inf, 5, 6, 7, 8]))


@item(3)
def minus_infinity_at_fit(_: Path) -> None:
    with pytest.raises(DataError, match=r"column 'b', row 5: -inf is infinity"):
        Encoder().fit(frame(b=[1.0, 2, 3, 4, 5, -np.inf, 7, 8]))


@item(4)
def not_finite_at_transform(_: Path) -> None:
    encoder, strict = Encoder().fit(frame()), Encoder(missing="error").fit(frame())
    with pytest.raises(DataError, match=r"column 'a', row 1: inf is infinity"):
        encoder.transform({"a": [1.0, np.inf]})
    with pytest.raises(DataError, match=r"column 'a', row 1: the value is missing"):
        strict.transform({"a": [1.0, np.nan]})
    assert encoder.transform({"a": [np.nan]}).tolist() == [[0.0]]


@item(5)
def constant_column(_: Path) -> None:
    table = frame(b=7.0, c="one")
    encoded = Encoder().fit(table).transform(table)
    assert np.isfinite(encoded).all()
    assert (encoded[:, 1] == 0).all()
    assert inspect(table).constants == ("b", "c")


@item(6)
def all_missing_column(_: Path) -> None:
    for nothing in (np.nan, None):
        with pytest.raises(DataError, match=r"column 'b': all 8 values are missing"):
            Encoder().fit(frame(b=[nothing] * 8))
    assert inspect(frame(b=np.nan)).empty == ("b",)


@item(7)
def equal_columns(_: Path) -> None:
    table = frame(b=np.arange(8.0))
    encoded = Encoder().fit(table).transform(table)
    assert np.array_equal(encoded[:, 0], encoded[:, 1])
    assert any("'b' equals column 'a'" in told for told in inspect(table).warnings)


@item(8)
def equal_names(_: Path) -> None:
    table = pd.DataFrame(ROWS, columns=["a", "b", "a"])
    for use in (Encoder().fit, read, inspect):
        with pytest.raises(DataError, match=r"column 'a': the name occurs 2 times"):
            use(table)


@item(9)
def class_of_one_row(_: Path) -> None:
    labels = ["a"] * 20 + ["b"] * 19 + ["c"]
    with pytest.warns(PoiseWarning, match="a class has only 1 row") as told:
        parts = split(labels, task="classification")
    assert len(told) == 1
    whole = np.concatenate([parts.train, parts.stop, parts.validation, parts.test])
    assert sorted(whole) == list(range(40))


@item(10)
def one_class(_: Path) -> None:
    target = Target.fit(["a"] * 8)
    assert target.classes is not None
    assert target.classes.tolist() == ["a"]
    assert target.encode(["a"]).tolist() == [0]
    assert any("one class" in told for told in inspect(frame(), ["a"] * 8).warnings)


@item(11)
def class_absent_from_a_part(_: Path) -> None:
    target = Target.fit(["a", "b", "c", "a"])
    assert target.encode(["c", "a"]).tolist() == [2, 0]
    assert target.class_weights("balanced").shape == (3,)


@item(12)
def two_rows(_: Path) -> None:
    with pytest.raises(DataError, match=r"needs at least 5 rows.*got 2"):
        split([0, 1], task="classification")


@item(13)
def unseen_category(_: Path) -> None:
    encoder = Encoder().fit({"city": ["Rome", "Oslo"] * 4})
    with pytest.warns(PoiseWarning, match=r"column 'city': 2 levels unseen at fit, in 3 rows \('Bonn' 2, 'Lima' 1\)"):
        encoded = encoder.transform({"city": ["Bonn", "Rome", "Lima", "Bonn"]})
    assert encoder.names == ("city =Oslo", "city =Rome", "city is other")
    assert encoded.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 1]]


@item(14)
def the_word_nan(_: Path) -> None:
    encoder = Encoder(missing="error").fit({"word": ["nan", "x"] * 4})
    assert encoder.names == ("word =nan", "word =x", "word is other")
    both = Encoder().fit({"word": ["nan", "x", None, "nan", "x"]})
    assert both.names == ("word =nan", "word =x", "word is missing", "word is other")
    assert both.transform({"word": ["nan", None]}).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]


@item(15)
def mixed_column(_: Path) -> None:
    for values in ([1, "x", 2, 3, 4, 5, 6, 7], [None, 1, "x", 2, 3, 4, 5, 6], ["x", {"a": 1}, 1, 2, 3, 4, 5, 6]):
        with pytest.raises(DataError, match=r"column 'b', row [12]: .* makes a column of .*(int|dict).*str"):
            Encoder().fit(frame(b=values))
    with pytest.raises(DataError, match=r"row 1: 'x' makes a target of int and str"):
        Target.fit([1, "x", 2])


@item(16)
def boolean_column(_: Path) -> None:
    for values in (
        [True, False] * 4,
        pd.array([True, False, None, True] * 2, "boolean"),
        [True, False, None, True] * 2,
    ):
        table = frame(b=values)
        encoder = Encoder().fit(table)
        assert encoder.kinds[1] == "category"
        assert encoder.transform(table)[:2, 1].tolist() == [1.0, 0.0]


@item(17)
def no_rows(_: Path) -> None:
    for use in (Encoder().fit, read, inspect):
        with pytest.raises(DataError, match=r"0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required"):
            use(np.empty((0, 3)))


@item(18)
def no_columns(_: Path) -> None:
    for use in (Encoder().fit, read, inspect):
        with pytest.raises(DataError, match=r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required"):
            use(np.empty((3, 0)))


@item(19)
def one_row(_: Path) -> None:
    table = pd.DataFrame({"a": [1.0], "b": ["x"]})
    assert np.isfinite(Encoder().fit(table).transform(table)).all()
    with pytest.raises(DataError, match=r"at least 5 rows.*n_samples=1"):
        split([1.0], task="regression")


@item(20)
def one_column(_: Path) -> None:
    assert Encoder().fit(np.arange(5.0)[:, None]).transform(np.arange(5.0)[:, None]).shape == (5, 1)
    with pytest.raises(DataError, match=r"Expected 2D array, got 1D array"):
        Encoder().fit(np.arange(5.0))


@item(21)
def lengths_differ(_: Path) -> None:
    for labels in ([0] * 7, [0] * 9):
        with pytest.raises(DataError, match=rf"X has 8 rows, y has {len(labels)} rows"):
            Encoder().fit(frame(), labels)
        with pytest.raises(DataError, match=rf"X has 8 rows, y has {len(labels)} rows"):
            inspect(frame(), labels)


@item(22)
def target_of_two_dimensions(_: Path) -> None:
    with pytest.warns(UserWarning, match="A column-vector y was passed when a 1d array was expected"):
        target = Target.fit(np.array([[0], [1], [0]]))
    assert target.counts is not None
    assert target.counts.tolist() == [2, 1]
    with pytest.raises(DataError, match=r"must be 1-d; got shape \(3, 2\)"):
        Target.fit(np.zeros((3, 2)))


@item(23)
def decimals_for_classes(_: Path) -> None:
    with pytest.raises(DataError, match=r"column 'target', row 1: 0.5 is no class \(Unknown label type"):
        Target.fit([0.0, 0.5, 1.0], task="classification")


@item(24)
def missing_target(_: Path) -> None:
    for values, row in (([0.0, np.nan], 1), (["a", None, "b"], 1), (pd.array([None, 1, 2], "Int64"), 0)):
        with pytest.raises(DataError, match=rf"column 'target', row {row}: Input y contains NaN"):
            Target.fit(values)
    with pytest.raises(DataError, match=r"row 1: Input y contains infinity"):
        Target.fit([0.5, np.inf])


@item(25)
def a_million_levels(_: Path) -> None:
    rows = 1_000_000
    table = pd.DataFrame({"id": [f"user-{i * 7919 % rows:07d}" for i in range(rows)]})
    size = int(table.memory_usage(deep=True).sum())
    tracemalloc.start()
    encoder = Encoder().fit(table)
    fitting = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    encoded = encoder.transform(table[:250_000])
    working = tracemalloc.get_traced_memory()[1] - encoded.nbytes
    tracemalloc.stop()
    assert encoded.shape == (250_000, 8)
    assert fitting < 2 * size
    assert working + 4 * encoded.nbytes < 2 * size  # only the output grows with the rows
    assert len(np.unique(encoded.round(5), axis=0)) > 100_000


@item(26)
def very_many_columns(_: Path) -> None:
    wide = np.arange(300_000.0).reshape(3, 100_000)
    with pytest.warns(PoiseWarning, match="the table has 100000 columns"):
        encoder = Encoder().fit(wide)
    assert encoder.transform(wide).shape == (3, 100_000)


@item(27)
def a_megabyte_in_a_cell(_: Path) -> None:
    long = "many words of a long text " * 40_000
    table = frame(b=[f"{long}{i}" for i in range(8)])
    assert np.isfinite(Encoder().fit(table).transform(table)).all()
    with pytest.raises(DataError) as told:
        Target.fit(["a", "b"]).encode([long])
    assert "'many words" in str(told.value)
    assert len(str(told.value)) < 300


@item(28)
def extreme_numbers(_: Path) -> None:
    for values in (
        [2**63 + 2**40 * i for i in range(8)],
        np.linspace(-1e38, 1e38, 8),
        5e-324 * np.arange(8),
        np.r_[1e308, -1e308, np.zeros(6)],
    ):
        encoded = Encoder().fit({"b": values}).transform({"b": values})
        assert np.isfinite(encoded).all()
        assert np.abs(encoded).max() > 0
    close = 1e9 + np.arange(8.0) * 1e-3  # float32 cannot tell these apart
    assert len(np.unique(Encoder().fit({"b": close}).transform({"b": close}))) == 8
    with pytest.raises(DataError, match=r"column 'b': the range .* is beyond float64"):
        Encoder().fit({"b": [1.7e308, -1.7e308] * 4})
    with pytest.raises(DataError, match=r"column 'b', row 1: 1000.*\.\.\. does not fit a 64-bit float"):
        Encoder().fit({"b": pd.Series([1, 10**400], dtype=object)})
    with pytest.raises(DataError, match="variance is beyond float64"):
        Target.fit([1.7e308, -1.7e308, 0.5])


@item(29)
def not_utf8(folder: Path) -> None:
    path = folder / "cities.csv"
    rows = "".join(f"Zürich in der schönen Schweiz größer als Köln,{i}\n" for i in range(30))
    path.write_bytes(("city,x\n" + rows).encode("cp1252"))
    with pytest.raises(DataError, match=r"cities.csv, byte 8: 0xfc is not utf-8\. .*encoding="):
        read(path, encoding="utf-8")
    assert read(path, encoding="cp1252").frame["city"][0].startswith("Zürich")
    with pytest.warns(PoiseWarning, match=r"byte 8: 0xfc is not utf-8; read as .* a guess"):
        table = read(path)
    assert table.frame["city"][0].startswith("Zürich")
    with pytest.raises(DataError, match="'klingon' is no known encoding"):
        read(path, encoding="klingon")


@item(30)
def byte_order_mark(folder: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        (folder / "a.csv").write_bytes("a,b\n1,é\n2,x\n".encode(encoding))
        assert list(read(folder / "a.csv").frame.columns) == ["a", "b"]
    (folder / "a.csv").write_bytes("a,b\n1,é\n".encode("utf-8-sig"))
    assert list(read(folder / "a.csv", encoding="utf-8").frame.columns) == ["a", "b"]


@item(31)
def ragged_rows(folder: Path) -> None:
    for row, fields in (("3,4,5,6", 4), ("3", 1)):
        (folder / "a.csv").write_text(f'a,b,c\n1,"two\nlines",3\n{row}\n')
        with pytest.raises(DataError, match=rf"a.csv, line 4: {fields} fields where the header has 3"):
            read(folder / "a.csv")


@item(32)
def nul_bytes_and_long_lines(folder: Path) -> None:
    path = folder / "a.csv"
    path.write_bytes(b"a,b\n1,\x00\n")
    with pytest.raises(DataError, match=r"a.csv, byte 6: a NUL byte"):
        read(path)
    path.write_text("a,b\n1," + "x" * 500_000 + "\n")
    assert len(read(path).frame["b"][0]) == 500_000
    with pytest.raises(DataError, match=r"a.csv has 500007 bytes; the cap is 1000"):
        read(path, cap=1000)


@item(33)
def unusual_types(_: Path) -> None:
    numbers = [1.5, 2.5, 4.0, 8.0]
    expected = Encoder().fit({"b": numbers}).transform({"b": numbers})
    for values in (
        [decimal.Decimal(str(number)) for number in numbers],
        pd.array(numbers, "Float64"),
        pd.array(numbers, pd.ArrowDtype(pa.float32())),
        pd.array([decimal.Decimal(str(n)) for n in numbers], pd.ArrowDtype(pa.decimal128(10, 2))),
        pd.to_timedelta(numbers, unit="s"),
        np.array(numbers, ">f4"),
        np.array(numbers, np.longdouble),
        np.array(numbers, np.float16),
    ):
        assert np.array_equal(Encoder().fit({"b": values}).transform({"b": values}), expected), values
    whole = pd.DataFrame({"b": pd.array([1, None, 3, 4], "Int64")})
    plain = pd.DataFrame({"b": [1.0, np.nan, 3, 4]})
    assert np.array_equal(Encoder().fit(whole).transform(whole), Encoder().fit(plain).transform(plain))
    data = {"n": numbers, "c": ["x", "y", "x", None], "d": [datetime.datetime(2020, 1, i + 1) for i in range(4)]}
    wanted = Encoder().fit(pd.DataFrame(data)).transform(pd.DataFrame(data))
    encoder = Encoder().fit(pd.DataFrame(data))
    for other in (pl.DataFrame(data), pa.table(data), pd.DataFrame(data).convert_dtypes(dtype_backend="pyarrow")):
        assert np.array_equal(Encoder().fit(other).transform(other), wanted)
        assert np.array_equal(encoder.transform(other), wanted)
    with pytest.raises(DataError, match="Complex data not supported"):
        Encoder().fit({"b": [1j, 2j]})


@item(34)
def sparse_matrix(_: Path) -> None:
    expected = Encoder().fit(ROWS).transform(ROWS)
    for kind in (scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array):
        assert np.array_equal(Encoder().fit(kind(ROWS)).transform(kind(ROWS)), expected)
    with pytest.raises(DataError, match=r"the sparse matrix of shape \(1000000, 1000\) would take 8000000000 bytes"):
        Encoder().fit(scipy.sparse.csr_array((1_000_000, 1000)))


@item(35)
def read_only_memory_map(folder: Path) -> None:
    np.save(folder / "a.npy", ROWS)
    mapped = np.load(folder / "a.npy", mmap_mode="r")
    assert np.array_equal(Encoder().fit(mapped).transform(mapped), Encoder().fit(ROWS).transform(ROWS))


@item(36)
def memory_order(_: Path) -> None:
    expected = Encoder().fit(ROWS).transform(ROWS)
    for values in (np.asfortranarray(ROWS), ROWS[::-1, ::-1].copy()[::-1, ::-1], ROWS.tolist(), ROWS.astype(np.int8)):
        encoded = Encoder().fit(values).transform(values)
        assert np.array_equal(encoded, expected)
        assert encoded.flags.c_contiguous
        assert encoded.dtype == np.float32


@item(37)
def columns_reordered(_: Path) -> None:
    table = frame(b=["x", "y"] * 4, c=np.arange(8) ** 2)
    encoder = Encoder().fit(table)
    assert np.array_equal(encoder.transform(table[["c", "a", "b"]]), encoder.transform(table))


@item(38)
def columns_missing(_: Path) -> None:
    encoder = Encoder().fit(frame(b=range(8), c=range(8)))
    with pytest.raises(DataError, match=r"(?s)yet now missing:\n- b\n- c\n0 extra, 2 missing"):
        encoder.transform(frame())
    with pytest.raises(DataError, match="X has 2 features, but Encoder is expecting 3 features"):
        encoder.transform(ROWS[:, :2])


@item(39)
def columns_extra(_: Path) -> None:
    encoder = Encoder().fit(frame())
    with pytest.raises(DataError, match=r"(?s)unseen at fit time:\n- b\n1 extra, 0 missing"):
        encoder.transform(frame(b=1.0))


@item(40)
def weights_all_zero(_: Path) -> None:
    with pytest.raises(DataError, match="weights must hold a value above 0; all 8 are 0"):
        Encoder().fit(frame(), weights=np.zeros(8))
    with pytest.raises(DataError, match=r"weights, row 2: nan must be a finite number of 0 or more"):
        Encoder().fit(frame(), weights=[1, 1, np.nan, 1, 1, 1, 1, 1])


@item(41)
def weights_negative(_: Path) -> None:
    with pytest.raises(DataError, match=r"weights, row 3: -1.0 must be a finite number of 0 or more"):
        Encoder().fit(frame(), weights=[1, 1, 1, -1, 1, 1, 1, 1])


@item(42)
def weight_two_is_the_row_twice(_: Path) -> None:
    with pytest.raises(DataError, match="X has 8 rows, weights has 3 rows"):
        Encoder().fit(frame(), weights=[1, 1, 1])
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "n": np.where(rng.random(60) < 0.1, np.nan, rng.normal(size=60)),
            "c": rng.choice([*"abcdefghij", None], 60),
            "b": rng.random(60) < 0.5,
            "d": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 10**8, 60), unit="s"),
        }
    )
    weights = rng.integers(0, 4, 60)
    repeated = table.loc[np.repeat(np.arange(60), weights)]
    one, other = Encoder().fit(table, weights=weights), Encoder().fit(repeated)
    assert one.names == other.names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)  # rows of weight 0 may hold a level of their own
        np.testing.assert_allclose(one.transform(table), other.transform(table), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("number", sorted(CASES))
def test_bad_input(number: int, tmp_path: Path) -> None:
    numpy_state, python_state = np.random.get_state()[1].copy(), random.getstate()
    CASES[number](tmp_path)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert random.getstate() == python_state


def test_every_item_has_a_case() -> None:
    assert set(CASES) == set(range(1, 43))
