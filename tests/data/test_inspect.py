import time

import numpy as np
import pandas as pd
import pytest

from poise.core.errors import DataError
from poise.data import Inspection, inspect, read
from poise.data.leaks import find_leaks

ROWS = 400
RNG = np.random.default_rng(0)


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"plain": RNG.normal(size=ROWS), **columns})


def told(found: Inspection, *words: str) -> bool:
    return any(all(word in line for word in words) for line in found.warnings)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("numeric", RNG.normal(size=ROWS)),
        ("numeric", RNG.integers(0, 5, ROWS)),
        ("numeric", RNG.integers(0, 10**9, ROWS)),
        ("boolean", RNG.random(ROWS) < 0.5),
        ("category", RNG.choice(["a", "b"], ROWS)),
        ("category", pd.Categorical(RNG.choice([1, 2, 3], ROWS))),
        ("date", pd.date_range("2020-01-01", periods=ROWS)),
        ("date", [f"2020-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(ROWS)]),
        ("text", [f"every row says something else {i}" for i in range(ROWS)]),
        ("identifier", np.arange(ROWS)[RNG.permutation(ROWS)] + 1000),
        ("identifier", [f"K-{i:05d}" for i in range(ROWS)]),
        ("constant", [3] * ROWS),
        ("constant", ["x"] * ROWS),
        ("empty", [None] * ROWS),
        ("empty", [np.nan] * ROWS),
    ],
)
def test_kinds(kind: str, values: object) -> None:
    found = inspect(table(c=values))
    assert found.kinds == {"plain": "numeric", "c": kind}
    assert told(found, "'c'") == (kind in ("identifier", "constant", "empty"))


def test_one_value_with_gaps_is_no_constant() -> None:
    assert inspect(table(c=["x", None] * (ROWS // 2))).kinds["c"] == "category"


def test_large_whole_numbers_named_id_are_identifiers() -> None:
    values = RNG.choice(10**6, ROWS, replace=False) * 1000
    assert inspect(table(customer_id=values)).identifiers == ("customer_id",)
    assert inspect(table(salary=values)).identifiers == ()


def test_numbers_as_text_are_numbers_and_codes_are_not() -> None:
    values = RNG.lognormal(7, 1, ROWS)
    prices, sizes = [f"${v:,.2f}" for v in values], [f"{v:.4f}" for v in values]
    found = inspect(table(price=prices, size=sizes, code=[f"{place % 9:02}" for place in range(ROWS)]))
    assert found.identifiers == found.warnings == ()
    assert [found.kinds[name] for name in ("price", "size", "code")] == ["numeric", "numeric", "category"]


def test_a_word_among_numbers_makes_no_identifier_but_a_warning() -> None:
    numbers = RNG.normal(size=ROWS).round(9).astype(str).tolist()
    found = inspect(table(amount=["n.k.", *numbers[1:]], code=[f"{n}x" if n % 5 else str(n) for n in range(ROWS)]))
    assert found.kinds["amount"] == "category"
    assert told(found, "'amount' holds numbers, but 1 of 400 values are none, such as 'n.k.'")
    assert found.identifiers == ("code",)


@pytest.mark.parametrize("classes", [2, 5])
def test_leaks_are_found_and_honest_columns_are_not(classes: int) -> None:
    target = RNG.integers(0, classes, ROWS)
    noise = RNG.normal(size=ROWS)
    words = np.array(["p", "q", "r", "s", "t"])
    found = inspect(
        table(
            copy=words[target],
            near=target + 0.1 * np.clip(noise, -3, 3),
            blurred=target + noise,
            folded=np.abs(target - classes / 2 + 0.25) * np.where(noise > 0, 1, -1),
        ),
        words[target],
    )
    assert {"copy", "near"} <= set(found.leaks)
    assert not {"plain", "blurred"} & set(found.leaks)
    assert told(found, "'near' may leak", "balanced accuracy")
    assert "may leak" in inspect(table(empty=np.nan, copy=target), target).warnings[0], "it comes first"


def test_leaks_by_missing_values_are_found() -> None:
    target = RNG.integers(0, 2, ROWS)
    words = pd.Series(RNG.choice(["a", "b"], ROWS)).where(target == 0)
    found = inspect(table(n=np.where(target == 1, np.nan, RNG.normal(size=ROWS)), c=words), target)
    assert set(found.leaks) == {"n", "c"}
    assert told(found, "'n'", "where it is missing predicts")


def test_leaks_of_a_number_are_found() -> None:
    target = RNG.normal(size=ROWS) + 50
    found = inspect(table(squared=target**2, noisy=target + RNG.normal(size=ROWS)), target)
    assert found.leaks == ("squared",)
    assert told(found, "R^2")


def test_a_level_for_every_row_does_not_look_like_a_leak() -> None:
    target = RNG.integers(0, 2, ROWS)
    assert inspect(table(key=[f"K{i}" for i in range(ROWS)]), target).leaks == ()


def test_a_leak_check_on_random_columns_stays_silent() -> None:
    columns = {f"c{i}": pd.Series(RNG.normal(size=60)) for i in range(200)}
    assert find_leaks(columns, RNG.integers(0, 2, 60), "classification") == {}


def test_double_columns_and_rows() -> None:
    base = table(c=RNG.choice(["a", "b"], ROWS))
    found = inspect(base.assign(again=base["plain"], word=base["c"]))
    assert found.copies == (("again", "plain"), ("word", "c"))
    assert told(inspect(pd.concat([base, base.iloc[:100]])), "20% of the rows are copies")
    assert not inspect(base).warnings


def test_tiny_classes_and_many_levels() -> None:
    labels = np.where(np.arange(ROWS) < 3, "rare", "usual")
    found = inspect(table(c=[f"level{i % 150}" for i in range(ROWS)]), labels)
    assert told(found, "1 class(es) with fewer than 10 rows ('rare' 3)")
    assert told(found, "'c' has 150 levels or more")
    assert told(inspect(table(), np.where(np.arange(ROWS) < 3, 1, 0)), "1 class(es) with fewer than 10 rows (1 3)")


def test_the_target_may_be_a_name_a_vector_or_the_tables_own() -> None:
    whole = read("iris")
    joined = whole.frame.assign(kind=whole.target)
    one, other, third = inspect(whole), inspect(joined, "kind"), inspect(whole.frame, whole.target)
    assert one.kinds == other.kinds == third.kinds
    assert one.warnings == third.warnings
    assert one.leaks == ()
    with pytest.raises(DataError, match="column 'kin': no such column"):
        inspect(joined, "kin")


def test_a_wide_and_long_table_takes_seconds() -> None:
    rows = 50_000
    wide = pd.DataFrame(RNG.normal(size=(rows, 80))).add_prefix("n")
    for i in range(20):
        wide[f"c{i}"] = RNG.choice(list("abcdefgh"), rows)
    start = time.process_time()
    found = inspect(wide, RNG.integers(0, 2, rows))
    assert time.process_time() - start < 6  # 0.8 s on a quiet core; the bound forgives a busy one
    assert not found.warnings
