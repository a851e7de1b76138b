import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import rankdata

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TABLES = ("blood_transfusion", "vehicle", "concrete", "credit_g")
ARMS = ("poise", "boosting", "catboost", "tabm")


@pytest.fixture(autouse=True)
def _scripts_of_the_benchmark() -> Iterator[None]:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def line(table: str, split: int, arm: str, loss: float, seconds: float | None = 60.0) -> dict[str, Any]:
    scores = {"rmse": loss, "r2": 0.0} if table == "concrete" else {
        "balanced_accuracy": 1 - loss, "balanced_accuracy_adjusted": 1 - loss, "balanced_accuracy_plain": 0.5,
        "log_loss": loss,
    }  # fmt: skip
    return {
        "table": table, "split": split, "arm": arm, "seconds": None if arm == "tabm" else seconds, "status": "ok",
        "scores": scores, "fit_seconds": 60.0, "fit_processor_seconds": 90.0, "predict_seconds": 1.0,
        "startup_seconds": 2.0, "peak_memory_mb": 100, "total_seconds": 63.0, "machine_busy_seconds": 100.0,
        "load_before": 0.5, "finished": "2026-01-02T03:04:05Z", "revision": "abc", "cores": 2,
    }  # fmt: skip


def losses() -> dict[tuple[str, int, str], float]:
    draw = np.random.default_rng(3)
    return {(table, split, arm): float(draw.uniform(0.1, 0.5)) for table in TABLES for split in (0, 1) for arm in ARMS}


def test_mean_ranks_are_those_of_scipy() -> None:
    from tables_report import interval, ranked, selected

    drawn = losses()
    records = [line(*cell, loss) for cell, loss in drawn.items()]
    _, _, merits = selected(records, 60.0, None)
    found = ranked(merits)["primary"]
    expected = np.mean(
        [rankdata([drawn[table, split, arm] for arm in ARMS]) for table in TABLES for split in (0, 1)], 0
    )
    assert [interval(found[arm])[0] for arm in ARMS] == pytest.approx(expected.tolist())


def test_an_arm_of_few_cells_is_not_ranked_and_does_not_take_cells_from_the_others() -> None:
    from tables_report import write_report

    drawn = losses()
    records = [line(*cell, loss) for cell, loss in drawn.items() if cell[2] != "tabm" or cell[0] == "vehicle"]
    text = write_report(records, 60.0, None)
    assert "primary (8 cells)" in text
    assert "too few cells: tabm" in text
    own = [rankdata([drawn[cell] for arm in ARMS if (cell := ("vehicle", split, arm))]) for split in (0, 1)]
    assert f"On the 2 cells that all have, primary mean ranks are {ARMS[int(np.mean(own, 0).argmin())]} " in text
    assert all(f"{arm} {mean:.2f}" in text for arm, mean in zip(ARMS, np.mean(own, 0), strict=True))


def test_where_poise_loses_names_every_table_behind_and_no_other() -> None:
    from tables_report import draw_losses, selected

    drawn = losses()
    _, columns, merits = selected([line(*cell, loss) for cell, loss in drawn.items()], 60.0, None)

    def mean(table: str, arm: str) -> float:
        return (drawn[table, 0, arm] + drawn[table, 1, arm]) / 2

    told = [row.split(" | ")[:2] for row in draw_losses(merits, columns).splitlines() if row.startswith("| ")][2:]
    expected = {(table, arm) for table in TABLES for arm in ARMS[1:] if mean(table, "poise") > mean(table, arm) * 1.001}
    assert {(table.removeprefix("| "), arm) for table, arm in told} == expected
    assert expected


def test_the_other_tables_have_a_section_of_their_own() -> None:
    from tables_others import others_section
    from tables_report import write_report

    pair = {"poise": 0.1, "boosting": 0.2}
    own = [line("yeast", 0, arm, loss) for arm, loss in pair.items()]
    own += [
        {**line("anneal", 0, arm, loss), "status": "error" if arm == "poise" else "ok"} for arm, loss in pair.items()
    ]
    own += [line("wdbc", 0, "poise", 0.1), line("wdbc", 0, "boosting", 0.0)]
    own += [line("splice", 0, "poise", 0.1), line("vehicle", 0, "poise", 0.1), line("yeast", 0, "poise", 0.3, 180.0)]
    found = others_section(own, 60.0)
    assert "| yeast | balanced accuracy | 90.0% | 80.0% | 0.1000 | 0.2000 | +50.0 % |" in found
    assert "| wdbc | balanced accuracy | 90.0% | 100.0% | 0.1000 | 0.0000 |  |" in found
    assert "| anneal | balanced accuracy | failed | 80.0% | failed | 0.2000 | |" in found.replace("|  |", "| |")
    assert "| boosting | 1 / 2 / 0 |" in found
    assert "vehicle" not in found
    assert "| splice" not in found
    assert others_section(own, 90.0) == ""
    page = write_report([line(*cell, loss) for cell, loss in losses().items()], 60.0, None, found)
    assert page.index("## Where poise loses") < page.index("## The other tables") < page.index("## Under what")


def test_wins_are_counted_by_either_metric() -> None:
    from tables_report import draw_duels, selected

    drawn = losses()
    records = [line(*cell, loss) for cell, loss in drawn.items()]
    for record in records:  # by log-loss all is the other way round
        if "log_loss" in record["scores"]:
            record["scores"]["log_loss"] = 1 - record["scores"]["log_loss"]
    _, columns, merits = selected(records, 60.0, None)
    row = next(text for text in draw_duels(merits, columns).splitlines() if text.startswith("| boosting"))
    gaps = {table: [drawn[table, split, "boosting"] - drawn[table, split, "poise"] for split in (0, 1)]
            for table in TABLES}  # fmt: skip
    numbers = sum((gap > 0) for gap in gaps["concrete"])
    wins = sum(gap > 0 for table, own in gaps.items() for gap in own if table != "concrete")
    primary, other = row.split(" | ")[1:3]
    assert primary == f"{wins + numbers} / {8 - wins - numbers} / 0"
    assert other == f"{6 - wins + numbers} / {2 + wins - numbers} / 0"


def test_the_conditions_tell_a_busy_machine_from_a_quiet_one() -> None:
    from tables_conditions import condition_lines, others_share

    quiet = line("vehicle", 0, "poise", 0.2)
    busy = line("vehicle", 0, "boosting", 0.2) | {"machine_busy_seconds": 126.0, "fit_processor_seconds": 50.0}
    assert others_share(quiet) == pytest.approx((100 - 90 - 3) / 126)
    assert others_share(busy) == pytest.approx((126 - 50 - 3) / 126)
    assert [row[-1] for row in condition_lines([quiet, busy], ARMS)] == ["quiet", "busy"]


def test_old_lines_of_arms_with_workers_do_not_pass_for_their_processor_time() -> None:
    from tables_conditions import processor_seconds

    for arm, expected in (("poise", None), ("boosting", 5.0)):
        old = line("vehicle", 0, arm, 0.2) | {"fit_cpu_seconds": 5.0}
        del old["fit_processor_seconds"]
        assert processor_seconds(old) == expected


def test_figures_are_whole_svg_and_hold_every_arm() -> None:
    from tables_anytime import Point, anytime, anytime_lines, anytime_revisions
    from tables_report import draw_figures

    records = [line(*cell, loss) for cell, loss in losses().items()]
    records += [line("vehicle", 0, arm, loss, 600.0) for arm, loss in (("poise", 0.1), ("boosting", 0.3))]
    curves = anytime(records, ARMS)
    assert {table: list(arms) for table, arms in curves.items()} == {"vehicle": ["boosting", "poise"]}
    assert curves["vehicle"]["poise"][-1] == Point(600.0, 0.1, records[0]["fit_seconds"])
    # Split 1 was run with one budget alone, so the first points are split 0's too.
    assert curves["vehicle"]["poise"][0].loss == losses()["vehicle", 0, "poise"] != losses()["vehicle", 1, "poise"]
    assert [row[:2] for row in anytime_lines(curves)[1]] == [["vehicle", "boosting"], ["vehicle", "poise"]]
    records[-2]["revision"] = "f00"
    before = records[0]["revision"].removesuffix("-dirty")
    assert anytime_revisions(records, curves, "poise") == f"poise was measured with 60 s at {before}; 600 s at f00."
    figures = draw_figures(records, 60.0, None)
    assert sorted(figures) == ["tables-anytime.svg", "tables-gains.svg", "tables-ranks.svg"]
    for name, figure in figures.items():
        texts = {element.text for element in ElementTree.fromstring(figure).iter() if element.tag.endswith("text")}
        assert {"boosting"} <= texts, name


def test_the_processor_time_of_a_session_counts_its_workers(tmp_path: Path) -> None:
    import subprocess

    # The worker is still alive when it is asked for: what the system adds to a parent's time is of ended ones only.
    worker = "import time\nwhile time.process_time() < 0.5: pass\nprint(1, flush=True)\ninput()"
    script = tmp_path / "cell.py"
    script.write_text(
        f"""
import subprocess, sys, time
sys.path.insert(0, {str(BENCHMARKS)!r})
from tables import session_seconds
before, own = session_seconds(), time.process_time()
worker = subprocess.Popen([sys.executable, "-c", {worker!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
worker.stdout.readline()
print(session_seconds() - before - (time.process_time() - own))
worker.communicate(b"")
""",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, script], start_new_session=True, capture_output=True, text=True, timeout=120, check=True
    )
    assert float(done.stdout) > 0.4
