"""The report and the closing text against the record: every number is the record's, every name is inert."""

from __future__ import annotations

import dataclasses
import html
import math
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from poise.core.errors import StudyError
from poise.study.figures_answers import answers_figure
from poise.study.figures_canvas import Scale
from poise.study.figures_parts import contributions_figure
from poise.study.figures_search import best_trial
from poise.study.figures_strengths import strengths_figure
from poise.study.figures_text import clean, cut, decimals_for, number, width
from poise.study.report import summary, write_report
from poise.study.result import (
    Arm,
    CalibrationBin,
    Contribution,
    Curve,
    Gap,
    Interval,
    Metric,
    Picture,
    Score,
    Strength,
    StudyResult,
    Trial,
)

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7*7 }}{% raw %}",
    "\x1b[31mred\x00\u202e\ud800",
    "a]]>&amp;<svg/onload=alert(1)>" + "very_long" * 30,
)
INK = Metric("log_loss", "log-loss", lower_is_better=True, primary=True)
ACCURACY = Metric("balanced_accuracy", "balanced accuracy", lower_is_better=False, primary=False)
RMSE = Metric("rmse", "RMSE", lower_is_better=True, primary=True)


def around(value: float, half: float) -> Interval:
    return Interval(value, value - half, value + half)


def gap(metric: Metric, train: float, validation: float, test: float, half: float) -> Gap:
    worse = test - train if metric.lower_is_better else train - test
    scores = (around(train, half / 2), around(validation, half), around(test, half), around(worse, 1.1 * half))
    return Gap(metric.name, *scores, around(1.02 * worse, 0.7 * half), around(test, 0.5 * half), 5)


def part(name: str, out: float, half: float, alone: float, verdict: str) -> Contribution:
    draw = random.Random(name)
    seeds = tuple(out + draw.gauss(0, half) for _ in range(5))
    return Contribution(
        name, around(out, half), seeds, around(alone, half), tuple(s + alone - out for s in seeds), verdict
    )


def curve(name: str, floor: float, turn: int, rise: float, steps: int = 2000) -> Curve:
    draw = random.Random(name)
    places = tuple(range(0, steps + 1, 20))
    train = tuple(floor + (1.1 - floor) * math.exp(-step / 260) + abs(draw.gauss(0, 0.006)) for step in places)
    bottom = tuple(0.5 + 0.6 * math.exp(-step / (turn / 3)) + draw.gauss(0, 0.004) for step in places)
    validation = tuple(b + rise * max(0, step - turn) / steps for b, step in zip(bottom, places, strict=True))
    return Curve(name, places, train, validation, places[validation.index(min(validation))])


def trials(count: int) -> tuple[Trial, ...]:
    draw, found = random.Random(0), []
    for at in range(count):
        dials = {
            "optimizer.lr": 10 ** draw.uniform(-4, -1.5),
            "dropout.p": draw.uniform(0, 0.6),
            "decay.rate": draw.choice([0.0, 10 ** draw.uniform(-4, 0)]),
            "mixup.alpha": draw.uniform(0, 1),
            "smoothing.share": draw.uniform(0, 0.2),
            "ema.decay": 0.999,
        }
        dials |= {"maxnorm.limit": draw.uniform(1, 5)} if at % 2 else {}
        far = abs(math.log10(dials["optimizer.lr"]) + 2.7) ** 2 * 0.08 + abs(dials["dropout.p"] - 0.25) * 0.2
        score, rung = 0.515 + far + draw.expovariate(40), draw.choice([0, 0, 1, 1, 2, 3])
        state = "diverged" if dials["optimizer.lr"] > 0.026 else "finished" if rung == 3 else "pruned"
        score = math.nan if state == "diverged" else 3.4 if at == 7 else score + 0.04 * (3 - rung)
        found.append(Trial(at, dials, rung, 150 * 3**rung, score - 0.1, score, state))
    return tuple(found)


def arm(
    name: str, metrics: tuple[Metric, ...], values: tuple[float, ...], seconds: float, note: str, half: float
) -> Arm:
    scores = tuple(Score(metric.name, around(value, half)) for metric, value in zip(metrics, values, strict=True))
    return Arm(name, scores, seconds, note)


def strength(dial: str, values: tuple[float, ...], changes: tuple[float, ...], half: float, *, log: bool) -> Strength:
    """A curve whose first 0 among the changes is the recipe's own value."""
    seeds = tuple((change - half / 2, change + half / 2) for change in changes)
    own = values[changes.index(0.0)]
    return Strength(dial, log, own, values, tuple(around(change, half if change else 0.0) for change in changes), seeds)


def classification() -> StudyResult:
    """Three classes, nine parts, everything measured."""
    both = (INK, ACCURACY)
    arms = (
        arm("unregularized network", both, (0.702, 0.741), 21.4, "same network, no part", 0.041),
        arm("tuned dropout", both, (0.571, 0.762), 168.2, "48 trials of dropout alone", 0.033),
        arm("gradient boosting", both, (0.528, 0.781), 35.9, "scikit-learn, tuned depth and rate", 0.031),
        arm("poise network", both, (0.531, 0.779), 512.0, "best trial, retrained", 0.030),
        arm("poise ensemble", both, (0.512, 0.788), 540.7, "8 networks", 0.029),
    )
    parts = (
        part("mixup", 0.0312, 0.0080, 0.0921, "helps"),
        part("decay", 0.0124, 0.0061, 0.0710, "helps"),
        part("dropout", 0.0207, 0.0066, 0.0853, "helps"),
        part("label smoothing", 0.0031, 0.0062, 0.0388, "no measurable effect"),
        part("ema", 0.0098, 0.0043, 0.0340, "helps"),
        part("clip norm", -0.0004, 0.0040, 0.0011, "no measurable effect"),
        part("max norm", 0.0011, 0.0051, 0.0410, "no measurable effect"),
        part("input noise", -0.0091, 0.0055, 0.0260, "hurts"),
        part("patience", 0.0461, 0.0102, 0.1040, "helps"),
    )
    return StudyResult(
        table="churn.csv",
        target="left",
        task="classification",
        classes=("stays", "leaves", "pauses"),
        rows={"train": 3102, "stop": 345, "validation": 862, "test": 1077},
        columns={f"column_{at}": kind for at, kind in enumerate(["numeric"] * 11 + ["category"] * 6 + ["date"])},
        warnings=("column_3 has 41 % missing values; they were imputed with the median and flagged.",),
        metrics=both,
        before=(gap(INK, 0.0312, 0.688, 0.702, 0.041), gap(ACCURACY, 0.998, 0.749, 0.741, 0.027)),
        after=(gap(INK, 0.471, 0.519, 0.531, 0.030), gap(ACCURACY, 0.812, 0.785, 0.779, 0.026)),
        contributions=parts,
        curves=(curve("before", 0.002, 240, 0.65), curve("after", 0.45, 1400, 0.02)),
        trials=trials(64),
        arms=arms,
        ensemble_size=8,
        finding="Without a regularizer the network learns its training rows almost by heart (log-loss 0.031) and is "
        "wrong on new ones (0.702). The found recipe of nine parts narrows that gap from 0.671 to 0.060. Patience, "
        "mixup and dropout carry most of it; label smoothing, max norm and clipping had no measurable effect.",
        recipe_yaml="format: 1\nparts:\n  mixup: {alpha: 0.41}\n  dropout: {p: 0.24}\n  decay: {rate: 0.031}\n",
        receipt="batch     mixup     lam ~ Beta(0.41, 0.41)      inputs and targets\n"
        "shrink    decay     w <- w - lr * rate * w      18 weights",
        budget="10m",
        seconds=571.3,
        seed=7,
        interrupted=False,
        versions={"poise": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.7"},
        confusion=((50, 3, 1), (4, 40, 0), (0, 9, 70)),
        calibration=(CalibrationBin(0.5, 0.6, 90), CalibrationBin(0.9, 0.85, 87)),
        pictures=(Picture("stays", "iVBORw0KGgo=", 7),),
        strengths=(
            strength("dropout.p", (0.0, 0.1, 0.24, 0.6), (0.0207, 0.011, 0.0, 0.05), 0.006, log=False),
            strength("decay.rate", (0.0, 0.001, 0.031, 2.0), (0.004, -0.02, 0.0, 0.09), 0.007, log=True),
            strength("mixup.alpha", (0.05, 0.41, 2.0), (0.001, 0.0, -0.001), 0.008, log=True),
        ),
    )


def hostile() -> StudyResult:
    """An interrupted regression whose every name attacks the page, with diverged and missing scores."""
    nan = math.nan
    lost = Interval(nan, nan, nan)
    broken = dataclasses.replace(
        gap(RMSE, 90_211.0, 150_000.0, 152_345.6, 4_000.0), validation=lost, gap_over_seeds=None
    )
    return dataclasses.replace(
        classification(),
        table=HOSTILE[0],
        target=HOSTILE[1],
        task="regression",
        classes=(),
        columns=dict(zip(HOSTILE, HOSTILE, strict=True)),
        rows=dict.fromkeys(HOSTILE[:2], 10),
        warnings=HOSTILE,
        metrics=(RMSE, Metric("r2", HOSTILE[3], lower_is_better=False, primary=False)),
        before=(broken,),
        after=(Gap("rmse", lost, lost, lost, lost, None, None, 0),),
        contributions=tuple(
            Contribution(name, around(at - 2.0, 1.5), (nan, 1.0), around(40.0, 9.0) if at else None, (), name)
            for at, name in enumerate(HOSTILE)
        ),
        curves=(Curve(HOSTILE[2], (1, 2, 3, 4), (3.0, nan, 1.0, math.inf), (nan,) * 4, 3),),
        trials=tuple(Trial(at, {name: 1.0 / (at + 1)}, 0, 10, nan, 5.0 - at, name) for at, name in enumerate(HOSTILE)),
        arms=tuple(
            Arm(name, (Score("rmse", around(9.0 + at, 2.0)), Score("r2", lost)), nan, name)
            for at, name in enumerate(HOSTILE)
        ),
        confusion=(),
        pictures=tuple(Picture(name, "iVBORw0KGgo=", 7) for name in HOSTILE),
        strengths=(
            *(strength(name, (0.0, 1.0), (5.0, 0.0), 1.0, log=True) for name in HOSTILE),
            Strength(HOSTILE[0], True, 1.0, (0.0, 1.0), (lost, lost), ((nan,), (nan,))),
        ),
        ensemble_size=0,
        finding=" ".join(HOSTILE),
        recipe_yaml=HOSTILE[0],
        receipt=HOSTILE[1],
        budget=HOSTILE[2],
        interrupted=True,
        versions={HOSTILE[0]: HOSTILE[1]},
    )


def empty() -> StudyResult:
    """A study stopped before anything was measured."""
    lists = ("warnings", "metrics", "before", "after", "contributions", "strengths", "curves", "trials", "arms")
    lists += ("classes", "confusion", "calibration", "pictures")
    nothing: dict[str, Any] = dict.fromkeys(lists, ()) | {"rows": {}, "columns": {}, "versions": {}}
    words: dict[str, Any] = {
        "finding": "",
        "recipe_yaml": "",
        "receipt": "",
        "ensemble_size": 0,
        "interrupted": True,
        "seconds": 0.4,
    }
    return dataclasses.replace(classification(), **nothing, **words)


RESULTS = {"classification": classification, "hostile": hostile, "empty": empty}


@pytest.fixture(scope="module", params=RESULTS)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, str]:
    result = RESULTS[request.param]()
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(result, path)
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]  # no draft is left
    return result, path.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every tag with its attributes, every opened tag closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "link", "meta"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def drawings(text: str) -> list[ElementTree.Element]:
    """The page's figures, each parsed as XML on its own."""
    found, at = [], 0
    while (start := text.find('<svg class="figure"', at)) >= 0:
        depth, at = 1, start + 4
        while depth:
            tag = re.compile(r"<svg|</svg>").search(text, at)
            assert tag is not None
            depth, at = depth + (1 if tag[0] == "<svg" else -1), tag.end()
        found.append(ElementTree.fromstring(text[start:at]))
    return found


def test_names_are_inert_and_nothing_leaves_the_file(page: tuple[StudyResult, str]) -> None:
    elements = Elements(page[1])
    assert elements.open == []
    assert not {"script", "iframe", "object", "form", "base"} & {tag for tag, _ in elements.found}
    attributes = [(name, value or "") for _, attrs in elements.found for name, value in attrs.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    assert all(value.startswith(("#", "data:,")) for name, value in attributes if name == "href")
    pictures = [value for name, value in attributes if name == "src"]
    assert all(re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=]*", value) for value in pictures)
    assert len(pictures) == len(page[0].pictures)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r'src="data:[^"]*"', "", page[1]))
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in attributes


def test_hostile_names_are_shown_as_they_are(tmp_path: Path) -> None:
    write_report(hostile(), tmp_path / "r.html")
    shown = "\n".join(Elements((tmp_path / "r.html").read_text(encoding="utf-8")).texts)
    for name in HOSTILE:
        assert clean(name) in shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", shown)


def test_every_drawing_is_xml_with_a_name_and_known_looks(page: tuple[StudyResult, str]) -> None:
    css = page[1][page[1].index("<style>") : page[1].index("</style>")]
    styled = set(re.findall(r"\.([a-z-]+)", css))
    for drawing in drawings(page[1]):
        assert drawing.attrib["role"] == "img"
        assert len(drawing.attrib["aria-label"]) > 20
        for mark in drawing.iter():
            if mark.tag in ("circle", "path", "line", "rect"):
                assert set(mark.attrib["class"].split()) <= styled
                numbers = [mark.attrib[key] for key in ("cx", "cy", "x1", "x2", "y1", "y2", "d") if key in mark.attrib]
                assert not [text for text in numbers if "nan" in text or "inf" in text]


def test_values_on_the_page_are_the_records(tmp_path: Path) -> None:
    result = classification()
    write_report(result, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    exact = set(re.findall(r'<data value="([^"]+)"', text))
    for gaps in (result.before, result.after):
        for item in gaps:
            assert {repr(score.value) for score in (item.train, item.validation, item.test, item.gap)} <= exact
    assert {repr(item.leave_out.value) for item in result.contributions} <= exact
    assert {repr(score.value.value) for item in result.arms for score in item.scores} <= exact
    assert {repr(trial.validation) for trial in result.trials} <= exact
    for value, shown in re.findall(r'<data value="([^"]+)">([^<]+)</data>', text):
        if shown != "not measured":
            decimals = len(shown.partition(".")[2])
            read = float(shown.replace(",", "").replace("−", "-"))
            assert read == pytest.approx(float(value), abs=0.51 * 10**-decimals)
    shown = html.unescape(re.sub(r"<[^>]+>", "\n", text))
    for word in (
        result.finding,
        result.recipe_yaml.strip(),
        *result.columns,
        *result.versions.values(),
        *result.classes,
    ):
        assert word in shown
    assert "5 of 9 parts could not be left out without harm" in shown
    assert "No measurable effect here: label smoothing, max norm and clip norm." in shown
    assert "The recipe was better without: input noise." in shown


def test_points_stand_where_their_values_are(tmp_path: Path) -> None:
    write_report(classification(), tmp_path / "r.html")
    first = drawings((tmp_path / "r.html").read_text(encoding="utf-8"))[0]
    train = [float(mark.attrib["cx"].rstrip("%")) for mark in first.iter("circle")]
    bands = [(float(box.attrib["x"].rstrip("%")), float(box.attrib["width"].rstrip("%"))) for box in first.iter("rect")]
    assert [start for start, _ in bands] == pytest.approx(train)
    scale = (train[1] - train[0]) / (0.471 - 0.0312)  # per cent of the width per unit of log-loss
    assert [size for _, size in bands] == pytest.approx([scale * (0.702 - 0.0312), scale * (0.531 - 0.471)], abs=0.03)


def test_equal_results_give_equal_bytes_and_replace_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(hostile(), path)
    write_report(classification(), path)
    first = path.read_bytes()
    write_report(classification(), path)
    assert path.read_bytes() == first


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    write_report(empty(), tmp_path / "r.html")
    shown = " ".join(Elements((tmp_path / "r.html").read_text(encoding="utf-8")).texts)
    sentences = (
        "Interrupted.",
        "No gap was measured",
        "No contribution was measured",
        "No strength was swept",
        "No loss was recorded",
        "Nothing was compared",
        "No search to draw: no trial was run",
        "No recipe was chosen",
    )
    for sentence in sentences:
        assert sentence in shown


@pytest.mark.parametrize(
    "field",
    [
        "before",
        "after",
        "contributions",
        "strengths",
        "curves",
        "trials",
        "arms",
        "metrics",
        "warnings",
        "confusion",
        "calibration",
        "pictures",
    ],
)
def test_any_one_list_may_be_empty(field: str, tmp_path: Path) -> None:
    nothing: dict[str, Any] = {field: ()}
    result = dataclasses.replace(classification(), **nothing)
    write_report(result, tmp_path / "r.html")
    assert drawings((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert all(width(line) <= 78 for line in summary(result).splitlines())


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    write_report(empty(), tmp_path / "r.html")
    before = (tmp_path / "r.html").read_bytes()
    no_number: Any = None
    with pytest.raises(TypeError):
        write_report(dataclasses.replace(empty(), seconds=no_number), tmp_path / "r.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StudyError, match="folder"):
        write_report(empty(), tmp_path / "folder")  # a folder cannot be replaced by a file
    assert (tmp_path / "r.html").read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder", "r.html"]


@pytest.mark.parametrize("lower", [True, False])
def test_the_best_trial_is_finished_and_follows_the_metric(lower: bool) -> None:
    metric = dataclasses.replace(RMSE, lower_is_better=lower)
    scores = [(3.0, "finished"), (1.0, "finished"), (0.1, "pruned"), (9.0, "pruned"), (math.nan, "diverged")]
    found = best_trial([Trial(at, {}, 0, 1, 0.0, score, state) for at, (score, state) in enumerate(scores)], metric)
    assert found is not None
    assert found.number == (1 if lower else 0)


def test_effects_of_very_different_size_get_two_axes() -> None:
    near = dataclasses.replace(classification(), contributions=(part("a", 0.02, 0.01, 0.03, "helps"),))
    far = dataclasses.replace(classification(), contributions=(part("a", 0.02, 0.01, 0.9, "helps"),))
    assert [len(contributions_figure(item).panels) for item in (near, far)] == [1, 2]


def test_the_answers_name_the_pair_that_is_confused_most() -> None:
    figure = answers_figure(classification())
    assert figure.claim == "17 of 177 test rows are decided wrongly"
    assert figure.caption[0] == "Most often, pauses is taken for leaves (9 rows)."
    # (90 * |0.6 - 0.5| + 87 * |0.85 - 0.9|) / 177 = 0.0754
    assert [panel.note for panel in figure.panels][1] == "expected calibration error 0.075"
    many = dataclasses.replace(classification(), classes=tuple(map(str, range(13))), confusion=((1,) * 13,) * 13)
    assert [panel.title for panel in answers_figure(many).panels] == ["Calibration"]


def test_strengths_say_which_dial_could_be_better_and_which_need_no_tuning() -> None:
    figure = strengths_figure(classification())
    assert figure.claim == "Another value was better than the chosen one for decay.rate"
    assert any("whole range of mixup.alpha" in sentence for sentence in figure.caption)
    assert [panel.title for panel in figure.panels] == ["dropout.p", "decay.rate", "mixup.alpha"]
    assert figure.table is not None
    assert len(figure.table.rows) == 4 + 4 + 3
    without = dataclasses.replace(classification(), strengths=classification().strengths[::2])
    assert strengths_figure(without).claim == "No other value was measurably better than the chosen one"


@pytest.mark.parametrize("name", RESULTS)
def test_summary_fits_a_terminal(name: str) -> None:
    text = summary(RESULTS[name]())
    lines = text.splitlines()
    assert max(width(line) for line in lines) <= 78
    assert len(lines) <= 45
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert ("Interrupted" in text) == RESULTS[name]().interrupted


def test_summary_says_the_numbers() -> None:
    text = summary(classification())
    for phrase in (
        "log-loss before",
        "0.031",
        "0.671 (0.626 to 0.716)",
        "patience",
        "+0.046",
        "no measurable effect",
        "0.512*",
    ):
        assert phrase in text
    assert text.index("  patience") < text.index("  mixup") < text.index("  input noise") < text.index("clip norm")


def test_a_share_of_one_keeps_two_digits_in_the_terminal_however_wide_its_interval() -> None:
    share = Metric("r2", "R²", lower_is_better=False, primary=False)
    arms = (arm("gradient boosting", (share,), (0.361,), 1.0, "", 40.0),)
    text = summary(dataclasses.replace(classification(), arms=arms, metrics=(share,), before=(), after=()))
    assert re.search(r"gradient boosting +0\.36\*", text)


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (0.12345, 3, "0.123"),
        (-0.5, 1, "−0.5"),
        (-0.0001, 3, "0.000"),
        (1234567.0, 0, "1,234,567"),
        (math.nan, 2, "not measured"),
    ],
)
def test_numbers_are_written_for_readers(value: float, decimals: int, expected: str) -> None:
    assert number(value, decimals) == expected


def test_decimals_follow_the_interval() -> None:
    assert decimals_for([around(0.6, 0.04)]) == 3
    assert decimals_for([around(150_000, 4_000)]) == 0
    assert decimals_for([]) == 3


def test_cut_counts_wide_letters_twice() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert width(cut("表" * 50, 20)) <= 20


@pytest.mark.parametrize(
    "values", [(0.0, 1.0), (5.0, 5.0), (0.0, 0.0), (-3e9, 1e-9), (1e-300, 2e-300), (math.nan,), ()]
)
@pytest.mark.parametrize("log", [False, True])
def test_a_scale_places_its_values_and_ticks_inside(values: tuple[float, ...], log: bool) -> None:
    scale = Scale.over(values, log=log)
    assert all(-1e-6 <= scale.at(value) <= 1 + 1e-6 for value in values if math.isfinite(value))
    assert all(-1e-6 <= place <= 1 + 1e-6 for place, _ in scale.ticks())


def test_a_log_scale_keeps_a_place_for_zero() -> None:
    scale = Scale.over((0.0, 1e-4, 1.0), log=True)
    assert 0 < scale.at(0.0) < scale.at(1e-4) < scale.at(1e-2) < scale.at(1.0)
    assert scale.ticks()[0][1] == "0"
    assert scale.at(1e-2) - scale.at(1e-4) == pytest.approx(scale.at(1.0) - scale.at(1e-2))


def test_the_terminal_says_why_a_search_ended_before_its_time() -> None:
    result = classification()
    assert "ended early" not in summary(result)
    told = summary(dataclasses.replace(result, early="The search ended early, after 9 rounds."))
    assert "\n\nThe search ended early, after 9 rounds.\n\n" in told


@pytest.mark.parametrize("field", ["structure", "early", "longer"])
def test_the_terminal_says_once_what_is_a_warning_too(field: str) -> None:
    note = "The search ended early, after 9 rounds."
    told = summary(dataclasses.replace(classification(), warnings=(note, "column 'x' may leak."), **{field: note}))
    assert told.count(note) == 1
    assert "Warning: column 'x' may leak." in told


def test_the_terminal_says_the_first_warnings() -> None:
    told = summary(dataclasses.replace(classification(), warnings=("column 'x' may leak.", *"abcde")))
    lines = "Warning: column 'x' may leak.\nWarning: a\nWarning: b\nWarning: c\n2 more are in the report."
    assert f"\n\n{lines}\n\n" in told
    assert "Warning" not in summary(dataclasses.replace(classification(), warnings=()))


def test_the_terminal_says_where_the_ensemble_trained_longer() -> None:
    result = classification()
    assert "times the steps" not in summary(result)
    told = summary(dataclasses.replace(result, longer="The networks train for 2 times the steps."))
    assert "\n\nThe networks train for 2 times the steps.\n\n" in told
