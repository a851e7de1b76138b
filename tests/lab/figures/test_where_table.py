"""The table of techniques: all of the library, in the order of the step, each with a figure that exists."""

import pytest

import cards
import poise
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.lab.figures import FIGURES
from poise.lab.figures.where_table import SHOWN, WHEN, WhereTable, entries
from poise.lab.scene import Bars, Plot, Table


def test_every_technique_that_has_a_card_has_a_row() -> None:
    expected = {kind.__name__ for kinds in cards.regularizers().values() for kind in kinds}
    assert {entry.name for entry in entries()} == expected & set(poise.__all__)
    assert len(entries()) >= 80


def test_rows_stand_in_the_order_of_the_step() -> None:
    places = [EVERY_STAGE.index(entry.stage) for entry in entries()]
    assert places == sorted(places)
    assert set(WHEN) == set(EVERY_STAGE)


def test_links_lead_to_figures_that_exist() -> None:
    assert set(SHOWN) <= set(Regularizer.registry)
    assert set(SHOWN.values()) <= set(FIGURES)
    table = WhereTable().compute(WhereTable().start()).panels[1]
    assert isinstance(table, Table)
    assert len(table.links) == len(table.rows)
    assert {link for link in table.links if link} <= {f"/f/{id}" for id in FIGURES}


def test_every_snippet_without_dots_is_a_recipe() -> None:
    whole = [entry for entry in entries() if "..." not in entry.snippet]
    assert len(whole) > 70
    for entry in whole:
        names = {name: getattr(poise, name) for name in ("Recipe", entry.name)}
        recipe = eval(entry.snippet, names)
        assert [type(part).__name__ for part in recipe] == [entry.name]


@pytest.mark.parametrize("stage", EVERY_STAGE)
def test_bars_and_filter_count_the_classes_of_a_stage(stage: str) -> None:
    figure = WhereTable()
    frame = figure.compute(figure.checked({"stage": stage}))
    expected = [k for k in Regularizer.registry.values() if stage in k.stages() and k.__name__ in poise.__all__]
    bars = frame.panels[0].marks[0]  # type: ignore[union-attr]
    assert isinstance(frame.panels[0], Plot)
    assert isinstance(bars, Bars)
    assert bars.value[EVERY_STAGE.index(stage)] == len(expected)
    assert frame.numbers[1].value == len(expected)
