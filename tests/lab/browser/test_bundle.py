"""The committed bundle is what its sources build, small, and asks nothing of another machine."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import poise.lab

STATIC = Path(poise.lab.__file__).parent / "static"
WEB = Path(__file__).resolve().parents[3] / "web"


def test_the_bundle_is_small() -> None:
    sizes = [len(gzip.compress((STATIC / name).read_bytes())) for name in ("lab.js", "lab.css")]
    assert sum(sizes) <= 60_000


def test_the_bundle_names_no_other_machine() -> None:
    for name in ("lab.js", "lab.css"):
        text = (STATIC / name).read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"@import|url\((?!#)|\beval\(|new Function", text.replace("url(#", ""))


def test_the_sources_set_no_markup_from_text() -> None:
    for path in (WEB / "src").rglob("*.ts"):
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write\b|DOMParser", text)
        assert found == [], f"{path.name}: {found}"


@pytest.fixture(scope="module")
def modules() -> Path:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed; they are needed only to change the page")
    folder = WEB / "node_modules"
    if not (folder / "esbuild").is_dir():
        pytest.skip("web/node_modules is not installed; `npm ci` in web/ does it")
    return folder


@pytest.mark.usefixtures("modules")
def test_a_rebuild_gives_the_committed_bytes(tmp_path: Path) -> None:
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=WEB, check=True, capture_output=True)
    for name in ("lab.js", "lab.css"):
        built = (tmp_path / name).read_bytes()
        assert built == (STATIC / name).read_bytes(), f"{name} is not what web/ builds; run `npm run build` in web/"


def test_the_types_hold(modules: Path) -> None:
    done = subprocess.run([modules / ".bin" / "tsc", "--noEmit"], cwd=WEB, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
