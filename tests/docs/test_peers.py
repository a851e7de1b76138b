"""docs/peers.md is what tools/peers.py writes, and its `yes` are those of parts and tests that exist."""

import peers


def test_the_page_is_up_to_date() -> None:
    written = peers.PAGE.read_text(encoding="utf-8") if peers.PAGE.exists() else ""
    assert written == peers.page(), "docs/peers.md is stale: run `python tools/peers.py`"


def test_at_least_sixty_of_sixty_four_rows_are_here() -> None:
    _, rows = peers.rows()
    assert len(rows) == 64
    missing = [row.technique for row in rows if not row.is_there]
    assert len(missing) <= 4, missing


def test_each_yes_links_to_a_test_that_uses_the_part() -> None:
    _, rows = peers.rows()
    for row in rows:
        if row.is_there:
            text = (peers.repository.ROOT / "tests" / row.test).read_text(encoding="utf-8")
            unused = [part for part in row.parts if part.rpartition(".")[2] not in text]
            assert not unused, f"{row.technique}: {row.test} does not use {unused}"


def test_a_part_that_does_not_exist_is_no_yes() -> None:
    assert not peers.Row("x", ("NoSuchPart",), "core/test_dial.py", ()).is_there
    assert not peers.Row("x", ("Dropout",), "core/no_such_test.py", ()).is_there
