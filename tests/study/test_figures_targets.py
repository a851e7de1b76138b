"""Several targets in the report: every number of each, and names that are data and nothing else."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from poise.study.figures_targets import leading, targets_table, together_figure
from poise.study.metrics import MEAN_LOSS, METRICS
from poise.study.report import summary, write_report
from poise.study.result import (
    Arm,
    Interval,
    Metric,
    Score,
    StudyResult,
    TargetFacts,
    Together,
    result_from_json,
    result_to_json,
)

EVIL = "<script>alert(1)</script>/\x1b[31m:"
RMSE, LOG_LOSS = METRICS["regression"][0], METRICS["classification"][0]
PAIRS = (
    Together("size", RMSE, 1.25, 1.75, Interval(0.5, 0.25, 0.75), (0.4, 0.6), "helps"),
    Together(EVIL, LOG_LOSS, 0.5, 0.375, Interval(-0.125, -0.2, -0.05), (-0.125, -0.125), "hurts"),
    Together("third", RMSE, 2.0, 2.0, Interval(0.0, float("-inf"), float("inf")), (0.0,), "no measurable effect"),
)
FACTS = (
    TargetFacts("size", "regression", (), 1234),
    TargetFacts(EVIL, "classification", ("<b>", "no"), 50),
    TargetFacts("third", "regression", (), 7),
)


def metrics() -> tuple[Metric, ...]:
    own = [Metric(f"{m.name}/{f.name}", f"{f.name}: {m.label}", m.lower_is_better, primary=False)
           for f in FACTS for m in METRICS[f.task]]  # fmt: skip
    return (MEAN_LOSS, *own)


def result(pairs: tuple[Together, ...] = PAIRS, facts: tuple[TargetFacts, ...] = FACTS) -> StudyResult:
    scores = tuple(Score(metric.name, Interval(0.5, 0.4, 0.6)) for metric in metrics())
    return StudyResult(
        "t", "size, ...", "several targets", (), {"test": 5}, {}, (), metrics(), (), (), (), (), (),
        (Arm("poise ensemble", scores, 1.0, ""),), 3, "", "", "", "2m", 1.0, 0, False, {}, facts, pairs,
    )  # fmt: skip


class Text(HTMLParser):
    """The page's own text and tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, _: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Text:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(result(), path)
    return Text(path.read_text(encoding="utf-8"))


def test_the_table_has_each_targets_task_and_labels() -> None:
    table = targets_table(result())
    assert table is not None
    assert [row[1:] for row in table.rows] == [
        ("a number", "1,234"),
        ("2 classes: <b> and no", "50"),
        ("a number", "7"),
    ]
    assert targets_table(result(facts=())) is None


def test_the_figure_claims_what_the_verdicts_say_and_draws_each_target() -> None:
    figure = together_figure(result())
    assert figure.claim == "Learning together helped 1 of 3 targets and harmed 1"
    assert [panel.title for panel in figure.panels] == ["size", EVIL, "third"]
    assert figure.table is not None
    assert [row[-1] for row in figure.table.rows] == ["helps", "hurts", "no measurable effect"]
    numbers = [re.findall(r'value="([^"]+)"', "".join(map(str, row))) for row in figure.table.rows]
    assert numbers[0] == ["1.25", "1.75", "0.5"]


def test_where_nothing_was_measured_the_figure_says_so() -> None:
    figure = together_figure(result(pairs=()))
    assert "not measured" in figure.missing
    assert "was not measured" in summary(result(pairs=()))


def test_names_are_shown_as_text_and_never_as_markup_or_control_codes(page: Text) -> None:
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text
    text = summary(result())
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 78


def test_a_narrow_table_has_the_mean_loss_and_the_first_metric_of_each_target() -> None:
    assert [metric.name for metric in leading(result())] == [
        "mean_loss", "rmse/size", f"log_loss/{EVIL}", "rmse/third",
    ]  # fmt: skip


def test_the_record_comes_back_equal_and_without_the_new_fields_too() -> None:
    assert result_from_json(result_to_json(result())) == result()
    values = json.loads(result_to_json(result()))
    del values["targets"], values["together"]
    assert result_from_json(json.dumps(values)) == result(pairs=(), facts=())


def test_equal_results_give_equal_pages(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report(result(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
