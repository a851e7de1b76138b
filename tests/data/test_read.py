import csv
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from poise.core.errors import ArgumentError, DataError
from poise.data import BUNDLED, Table, inspect, read

TABLE = pd.DataFrame({"a": [1, 2, 3], "b": [0.1, 2.5, -1e-300], "c": ["x, y", 'say "hi"', "two\nlines"]})


def test_every_file_format_gives_the_same_table(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    TABLE.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    TABLE.to_csv(tmp_path / "t.txt", index=False, sep="|", quoting=csv.QUOTE_ALL)
    TABLE.to_parquet(tmp_path / "t.parquet")
    TABLE.to_feather(tmp_path / "t.feather")
    TABLE.to_json(tmp_path / "t.jsonl", orient="records", lines=True, double_precision=15)
    TABLE.to_json(tmp_path / "t.json", orient="records", double_precision=15)
    for path in sorted(tmp_path.iterdir()):
        table = read(path)
        assert table.name == "t"
        tolerance = 1e-14 if path.suffix in (".json", ".jsonl") else 1e-300
        pd.testing.assert_frame_equal(table.frame, TABLE, check_exact=False, rtol=1e-15, atol=tolerance, obj=path.name)


def test_every_object_gives_the_same_table() -> None:
    for source in (TABLE, TABLE.set_axis([7, 7, 9]), TABLE.to_dict("list"), pl.from_pandas(TABLE), pa.table(TABLE)):
        table = read(source, target="a")
        assert table.name == "table"
        assert table.target is not None
        assert table.target.tolist() == [1, 2, 3]
        pd.testing.assert_frame_equal(table.frame, TABLE[["b", "c"]])


def test_an_array_gets_names() -> None:
    assert list(read(np.eye(3)).frame.columns) == ["x0", "x1", "x2"]


def test_numbers_survive_text_exactly(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.random.default_rng(1).integers(-20, 20, 1000)
    pd.DataFrame({"v": values, "w": 1}).to_csv(tmp_path / "v.csv", index=False)
    np.testing.assert_allclose(read(tmp_path / "v.csv").frame["v"].to_numpy(), values, rtol=4e-16)


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_bundled_tables_equal_sklearn(name: str) -> None:
    table, theirs = read(name), BUNDLED[name](as_frame=True)
    assert isinstance(table, Table)
    assert table.target is not None
    pd.testing.assert_frame_equal(table.frame, theirs.data)
    if name == "diabetes":
        assert np.array_equal(table.target, theirs.target)
    else:
        assert [str(theirs.target_names[code]) for code in theirs.target] == [str(label) for label in table.target]


def test_a_file_named_like_a_bundled_table_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris").mkdir()
    assert read("iris").frame.shape == (150, 4)  # a folder is no table
    (tmp_path / "iris").rmdir()
    (tmp_path / "iris").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(DataError, match="iris"):
        read("iris")  # a file is asked for its kind, which its name does not tell


def test_marks_are_missing_among_numbers_and_words_among_words(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("n,country,e\n1,NA,\n?,None,x\n2.5,FR,\nNA,nan,y\n")
    frame = read(tmp_path / "t.csv").frame
    assert frame["n"].tolist()[0::2] == [1, 2.5]
    assert frame["n"].isna().tolist() == [False, True, False, True]
    assert frame["country"].tolist() == ["NA", "None", "FR", "nan"]
    assert frame["e"].isna().tolist() == [True, False, True, False]


def test_booleans_with_gaps_and_numbers_beyond_64_bits_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("flag,n\nTrue,1\n,99999999999999999999\nFalse,-3\n")
    table = read(tmp_path / "t.csv")
    assert inspect(table).kinds == {"flag": "boolean", "n": "numeric"}
    assert table.frame["flag"].tolist()[::2] == [True, False]
    assert table.frame["n"].astype(float).tolist() == [1.0, 1e20, -3.0]


def test_spaces_behind_a_delimiter_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('n, word, m\n1, "a, b"," "\n , c, 2\n3,   , \n')
    frame = read(tmp_path / "t.csv").frame
    assert list(frame) == ["n", "word", "m"]
    assert frame["word"].tolist()[:2] == ["a, b", "c"]
    assert frame.isna().to_numpy().tolist() == [[False, False, True], [True, False, False], [False, True, True]]
    assert frame["m"].dtype == frame["n"].dtype == np.float64


def test_semicolons_with_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("n;word\n1,5;a,b\n-2,25;c\n;d\n")
    frame = read(tmp_path / "t.csv").frame
    assert frame["n"].tolist()[:2] == [1.5, -2.25]
    assert frame["word"].tolist() == ["a,b", "c", "d"]


@pytest.mark.parametrize(
    ("delimiter", "texts", "numbers"),
    [
        (",", ["1,234.5", "-7", "NA", "1,000,000"], [1234.5, -7.0, np.nan, 1e6]),
        (",", ["$1,234", "$5.50"], [1234.0, 5.5]),
        (",", ["12 %", "3.5 %", ""], [12.0, 3.5, np.nan]),
        (";", ["1.234,5", "7"], [1234.5, 7.0]),
        (";", ["3,50 €", "1.200,00 €"], [3.5, 1200.0]),
        (";", ["1,234.5", "2.5"], [1234.5, 2.5]),
    ],
)
def test_numbers_as_people_write_them(tmp_path: Path, delimiter: str, texts: list[str], numbers: list[float]) -> None:
    rows = "".join(f'"{text}"{delimiter}x\n' for text in texts)
    (tmp_path / "t.csv").write_text(f"n{delimiter}word\n{rows}", encoding="utf-8")
    np.testing.assert_array_equal(read(tmp_path / "t.csv", delimiter=delimiter).frame["n"], numbers)


@pytest.mark.parametrize("texts", [["1,5", "2,75"], ["$5", "5 %"], ["12,34", "1,234"], ["1 2", "3 4"], ["€", "€5"]])
def test_what_may_mean_two_things_stays_a_word(tmp_path: Path, texts: list[str]) -> None:
    rows = "".join(f'"{text}",x\n' for text in texts)
    (tmp_path / "t.csv").write_text(f"n,word\n{rows}", encoding="utf-8")
    assert read(tmp_path / "t.csv").frame["n"].tolist() == texts


def test_a_first_line_of_excel_tells_the_delimiter_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\r\na,b;c\r\n1,2;3\r\n")
    assert list(read(tmp_path / "t.csv").frame) == ["a,b", "c"]
    (tmp_path / "t.csv").write_text("sep=;\na;b\n1;2\n1;2;3\n")
    with pytest.raises(DataError, match="line 4: 3 fields"):
        read(tmp_path / "t.csv")


def test_a_given_delimiter_wins(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b;c\n1,2;3\n")
    assert list(read(tmp_path / "t.csv", delimiter=";").frame.columns) == ["a,b", "c"]


def test_blank_lines_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n\na,b\n1,2\n\n3,4\n\n")
    assert read(tmp_path / "t.csv").frame.to_numpy().tolist() == [[1, 2], [3, 4]]


def test_one_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    assert read(tmp_path / "t.csv").frame["a"].tolist() == [1, 2]


def test_an_unknown_target_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match=r"'prise': no such .*Did you mean 'price'\? It has \['price', 'age'\]"):
        read({"price": [1], "age": [2]}, target="prise")


def test_an_unknown_target_lists_the_columns_there_is_room_for() -> None:
    with pytest.raises(DataError, match=r"It has \['x0', .* 'x20'\]\."):
        read(np.zeros((2, 21)), target="y")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "t.csv: the file is empty"),
        ("t.csv", "a,a\n1,2\n", "column 'a': the name occurs 2 times"),
        ("t.csv", "a,b\n", r"0 sample\(s\)"),
        ("t.csv", 'a,b\n1,"2\n3,4\n', "t.csv: .*EOF inside string.* Close the quote"),
        ("t.xls", "a", "the ending '.xls' is not known"),
        ("t.jsonl", '{"a": 1}\n{"a": }\n', "t.jsonl, line 2: Expecting value"),
        ("t.jsonl", '{"a": 1}\n[1]\n', r"t.jsonl, line 2|record 2: \[1\] is no object"),
        ("t.jsonl", '{"a": {"b": 1}}\n', "column 'a': a record holds a list or an object"),
        ("t.jsonl", "[" * 100_000, "nested too deep"),
        ("t.json", "[]", "holds no records"),
        ("t.parquet", "PAR1 no", "t.parquet cannot be read as .parquet"),
        ("t.arrow", "no", "t.arrow cannot be read as .arrow"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def test_a_path_that_does_not_exist_lists_the_bundled_tables() -> None:
    with pytest.raises(DataError, match=r"'irris' does not exist, nor .* bundled tables \['breast_cancer'"):
        read("irris")


@pytest.mark.parametrize(
    ("argument", "value"), [("target", 1), ("encoding", b"x"), ("delimiter", ",,"), ("cap", 0), ("cap", True)]
)
def test_arguments_are_checked(argument: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=rf"`read.{argument}` must be .*; got {value!r}"):
        read("iris", **{argument: value})


def test_several_targets_are_set_apart_in_the_order_asked_for() -> None:
    table = read(TABLE, target=["c", "a"])
    assert list(table.frame) == ["b"]
    assert table.targets is not None
    pd.testing.assert_frame_equal(table.targets, TABLE[["c", "a"]])
    assert table.target is None
    assert table.target_name is None


def test_a_comma_divides_targets_only_where_no_column_has_that_name() -> None:
    odd = TABLE.assign(**{"a,b": [1, 2, 3]})
    assert list(read(odd, target="a,b").frame) == ["a", "b", "c"]
    assert list(read(odd, target="a,c").frame) == ["b", "a,b"]
    assert list(read(odd, target=["a, c", "b"]).frame) == ["a,b"]
    with pytest.raises(DataError, match="column 'z'"):
        read(odd, target="a,z")


def test_a_target_named_twice_is_refused() -> None:
    with pytest.raises(ArgumentError, match="once; got 'a' twice"):
        read(TABLE, target=["a", "a"])
    with pytest.raises(ArgumentError, match="once; got 'a' twice"):
        read(TABLE, target="a,a")


@pytest.mark.parametrize("target", [[], [1], ("a", None)])
def test_what_is_no_list_of_names_is_refused(target: object) -> None:
    with pytest.raises(ArgumentError, match="list of texts"):
        read(TABLE, target=target)  # type: ignore[arg-type]
