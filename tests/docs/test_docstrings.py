"""Every public name says what it is, a regularizer's docstring has its parts, the examples in docstrings are true."""

import ast
import dataclasses
import doctest
import importlib
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import repository

PACKAGE = repository.ROOT / "poise"
PARTS = ("Neutral", "Shapes", "Units", "Raises", "Source")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(repository.ROOT).with_suffix("").parts).removesuffix(".__init__")


# From the file names, so that collecting imports nothing and one broken module fails one test.
MODULES = [
    module_name(path)
    for path in repository.files()
    if path.is_relative_to(PACKAGE) and path.suffix == ".py" and path.stem != "__main__"
]


def explained_constants(source: str) -> set[str]:
    """Names assigned at the top level with a comment beside or above them, or a string below."""
    lines = source.splitlines()
    body = ast.parse(source).body
    found: set[str] = set()
    for statement, following in itertools.zip_longest(body, body[1:]):
        match statement:
            case ast.Assign(targets=[*targets]):
                names = {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = {name}
            case _:
                continue
        near = [lines[statement.lineno - 2], *lines[statement.lineno - 1 : statement.end_lineno]]
        string = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if string or any("#" in line for line in near):
            found |= names
    return found


def undocumented(module: ModuleType) -> Iterator[str]:
    """The names of a module's __all__ that say nothing of themselves where they are defined."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    constants, imported = explained_constants(source), names_imported(source)
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            doc = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
            generated = dataclasses.is_dataclass(value) and (doc or "").startswith(f"{name}(")
            if not (doc or "").strip() or generated:
                yield name
        elif not (inspect.ismodule(value) or name in constants or name in imported):
            yield name


def names_imported(source: str) -> set[str]:
    """What `from ... import` brings in at the top level: documented where it comes from."""
    imports = [statement for statement in ast.parse(source).body if isinstance(statement, ast.ImportFrom)]
    return {alias.asname or alias.name for statement in imports for alias in statement.names}


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name: str) -> None:
    missing = list(undocumented(importlib.import_module(name)))
    assert not missing, f"{name}: no docstring (a constant: no comment) for {missing}"


def concrete_regularizers() -> list[type[Any]]:
    """The package's own concrete classes below poise.core.Regularizer, which marks them `final`."""
    core = importlib.import_module("poise.core.regularizer")
    if not hasattr(core, "Regularizer"):
        pytest.skip("poise.core has no Regularizer yet")
    for name in MODULES:
        importlib.import_module(name)
    below: list[type[Any]] = [core.Regularizer]
    for kind in below:
        below += [sub for sub in kind.__subclasses__() if sub not in below]
    ours = [kind for kind in below if kind.__module__ in MODULES and "testing" not in kind.__module__]
    return [kind for kind in ours if dataclasses.is_dataclass(kind) and kind.final]


def test_regularizers_docstrings_have_their_parts() -> None:
    problems = []
    for kind in concrete_regularizers():
        doc = vars(kind).get("__doc__") or ""
        if missing := [part for part in PARTS if not re.search(rf"^[ \t*]*{part}\b", doc, flags=re.MULTILINE)]:
            problems.append(f"{kind.__module__}.{kind.__qualname__}: no line begins with {', '.join(missing)}")
    assert not problems, "\n".join(problems)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("name", MODULES)
def test_doctests_are_true(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    printed: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=printed.append)
    assert not printed, "".join(printed)
