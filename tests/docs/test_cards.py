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


def test_the_readme_lists_every_regularizer() -> None:
    readme = (cards.repository.ROOT / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("| stage | what is edited | parts |") : readme.index("[Formula, dials")]
    rows = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()[2:] if line.startswith("|")}
    for stage, kinds in cards.regularizers().items():
        missing = [kind.__name__ for kind in kinds if f"`{kind.__name__}`" not in rows[stage]]
        assert not missing, f"README.md's row of {stage} lacks {missing}"
