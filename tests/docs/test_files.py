"""The tree itself: no file grows past a screenful of screens unnoticed, and none remembers the machine it came from."""

import re

import repository

SOFT_LIMIT = 300
# A longer file, and why it is one idea all the same.
LONGER: dict[str, str] = {
    "poise/lab/scene.py": "the records that web/src/scene.ts mirrors one by one, each a few lines",
    # Mostly one parametrized table of cases, whose ids are the items of a list: split, it is hard to read against it.
    "tests/data/test_bad_inputs.py": "the bad inputs of a table, one case an item",
    "tests/train/test_looped.py": "networks that vmap cannot map, one of a kind, and what must hold of each",
    "tests/test_bad_arguments.py": "the bad arguments of a recipe, one case an item",
    "tests/study/test_report.py": "two whole study results as fixtures, and the report's tests on them",
    "tests/study/test_study.py": "one finished study as a fixture, and what must hold of it",
    "tests/testing/test_battery.py": "one broken regularizer for each check of the battery",
}

# Written in two halves, so that this file passes its own test.
MACHINE_PATHS = re.compile(
    r"(?<![\w.-])(?:"
    + "|".join(
        start + rest
        for start, rest in [
            ("/wo", r"rk/"),
            ("/ro", r"ot/"),
            ("/ho", r"me/[a-z]"),
            ("/Us", r"ers/[A-Za-z]"),
            ("/tm", r"p/bash_jobs"),
            ("/op", r"t/(?:wheels|pypi)"),
            (r"[A-Z]:\\", r"+Users\\"),
        ]
    )
    + ")"
)


def test_code_files_stay_short() -> None:
    lengths = {
        repository.name_of(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in repository.files()
        if path.suffix in {".py", ".c"}
    }
    too_long = {name: n for name, n in lengths.items() if n > SOFT_LIMIT and name not in LONGER}
    assert not too_long, f"over {SOFT_LIMIT} lines; split, or give the reason in LONGER: {too_long}"
    stale = [name for name in LONGER if lengths.get(name, 0) <= SOFT_LIMIT]
    assert not stale, f"LONGER lists files that are not longer than {SOFT_LIMIT} lines (any more): {stale}"


def test_no_file_names_a_developers_machine() -> None:
    found = []
    for path in repository.files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture or an archive
        found += [
            f"{repository.name_of(path)}:{number}: {match[0]}"
            for number, line in enumerate(lines, start=1)
            if (match := MACHINE_PATHS.search(line))
        ]
    assert not found, "\n".join(found)
