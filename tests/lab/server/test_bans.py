"""What no module of the lab may contain: ways to run, unpickle or import what a client or a file says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import poise.lab

FOLDER = Path(poise.lab.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "loky",
    "shelve",
    "marshal",
    "xml",
    "runpy",
    "code",
    "pty",
}
CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "system", "popen", "unsafe_load", "full_load"}
# (module, name): what it does with what a client says is nothing.
AUDITED = {
    ("server/pool.py", "subprocess"),  # one fixed command, to start the nursery
    ("catalog.py", "importlib"),  # the module is named by the code that starts the lab
    ("figures/where_table.py", "importlib"),  # the library's own folders
    ("shown.py", "importlib.util"),  # whether a package is there
}


def found(source: str, name: str) -> list[str]:
    """Return what is banned in a source text."""
    said = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                said += [alias.name for alias in names]
            case ast.ImportFrom(module=str(module)):
                said.append(module)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if called in CALLS:
                # re.compile, and a model's eval()
                regular = isinstance(node.func, ast.Attribute) and (called == "compile" or not node.args)
                said.append("" if regular else f"{called}()")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load")):
                said.append("torch.load()")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="yaml"), attr="load")):
                said.append("yaml.load()")
        if isinstance(node, ast.keyword) and node.arg in {"allow_pickle", "shell"}:
            said.append(f"{node.arg}=")
        if isinstance(node, ast.keyword) and node.arg == "weights_only":
            said.append("" if isinstance(node.value, ast.Constant) and node.value.value is True else "weights_only=")
    banned = {"subprocess", "importlib", "multiprocessing", *MODULES}
    return [one for one in said if one and (one.endswith(("()", "=")) or one.split(".")[0] in banned)
            and (name, one) not in AUDITED]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_module_of_the_lab_runs_nothing_that_it_is_told(path: Path) -> None:
    assert found(path.read_text(encoding="utf-8"), path.relative_to(FOLDER).as_posix()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import joblib.numpy_pickle", "eval('1')", "builtins.exec('1')",
        "torch.load(path)", "yaml.load(text)", "numpy.load(path, allow_pickle=True)", "run('ls', shell=True)",
        "__import__('os')", "compile('1', '', 'eval')", "import subprocess", "os.system('ls')", "frame.eval(text)",
        "torch.loads(x, weights_only=False)", "import importlib",
    ],
)  # fmt: skip
def test_the_ban_finds_what_it_bans(source: str) -> None:
    assert found(source, "server/session.py")


def test_the_ban_lets_the_rest_pass() -> None:
    source = "import json, re\nre.compile('a')\njson.loads('1')\nsafetensors.torch.load_file(path)\n"
    assert found(source, "server/session.py") == []
