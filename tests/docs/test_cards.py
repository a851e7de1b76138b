"""docs/regularizers.md is what tools/cards.py writes from the classes."""

import cards
from poise.core.dial import dials_of


def test_the_page_is_up_to_date() -> None:
    written = cards.PAGE.read_text(encoding="utf-8") if cards.PAGE.exists() else ""
    assert written == cards.page(), "docs/regularizers.md is stale: run `python tools/cards.py`"


def test_every_card_has_its_parts() -> None:
    page = cards.page()
    for kinds in cards.regularizers().values():
        for kind in kinds:
            assert kind.formula in page, kind
            assert kind.cost, kind
            assert cards.named(kind, "Source"), kind
            assert all(f"| `{name}` |" in page for name in dials_of(kind)), kind
