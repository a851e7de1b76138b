"""docs/map.md tells of the code that is there: its stages, its folders, its phases."""

import re

import repository
from poise.core.regularizer import EVERY_STAGE
from poise.study import study
from poise.study.design import SEARCH
from poise.study.retraining import LONGER
from poise.study.table_network import MANY, Design

PAGE = repository.ROOT / "docs" / "map.md"


def section(title: str) -> str:
    """The page from a heading to the next one of its level."""
    found = re.search(
        rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/map.md has no section {title!r}"
    return found[1]


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the tables in a text, where it is code."""
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


def test_the_stages_are_listed_in_the_order_of_the_core() -> None:
    assert tuple(first_cells(section("Stages"))) == EVERY_STAGE


def test_every_folder_of_the_package_is_listed() -> None:
    package = repository.ROOT / "poise"
    names = [repository.name_of(file).split("/") for file in repository.files() if file.is_relative_to(package)]
    folders = {f"poise/{parts[1]}/" for parts in names if len(parts) > 2}
    assert folders == {
        name for name in first_cells(section("Folders")) if name.startswith("poise/") and name[-1] == "/"
    }


def test_the_phases_end_where_the_study_ends_them() -> None:
    shares = re.findall(r"^\| `\w+` \| (\d+) % \|", section("Study"), flags=re.MULTILINE)
    least = Design().search_share(MANY)
    ends = [study._FIT * SEARCH, study._FIT, study._ABLATION]
    assert [int(share) for share in shares] == [round(100 * end) for end in ends]
    assert f"from {100 * study._FIT * least:.0f} % on, of a table of {MANY:,} rows or more," in section("Study")
    assert max(LONGER) == 4
    assert f"for {Design.networks} networks, four times the steps" in section("Study")
