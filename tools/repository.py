"""The files of this repository and the code blocks of its pages: what the checks in tests/docs walk over."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEVER_OURS = {".git", ".venv", "__pycache__", "build", "dist", "runs"}


def files() -> list[Path]:
    """All files git tracks or would track; without git (an unpacked archive), all but the build's."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        found = [ROOT / name for name in names if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in ROOT.rglob("*") if not NEVER_OURS & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in found if path.is_file())


def name_of(path: Path) -> str:
    """The path as a person writes it: from the repository's root, with forward slashes."""
    return path.relative_to(ROOT).as_posix()


def pages() -> list[Path]:
    """README.md and the pages under docs/."""
    return [path for path in files() if re.fullmatch(r"README\.md|docs/.*\.md", name_of(path))]


@dataclass(frozen=True)
class Block:
    """One fenced block: `line` is the number of its first line of code; `not_run` a reason or None."""

    language: str
    line: int
    code: str
    not_run: str | None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order.

    A line `<!-- not run: why -->` above a block, with at most blank lines between, gives its reason.
    """
    found: list[Block] = []
    fence, indent, language, start, code = "", "", "", 0, [""]
    not_run: str | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if fence:
            if re.fullmatch(rf"\s*{fence[0]}{{{len(fence)},}}\s*", line):
                found.append(Block(language, start, "\n".join(code) + "\n", not_run))
                fence, not_run = "", None
            else:
                code.append(line.removeprefix(indent))
        elif opening := re.match(r"(\s*)(`{3,}|~{3,})\s*([\w+-]*)", line):
            indent, fence, language = opening.groups()
            start, code = number + 1, []
        elif comment := re.fullmatch(r"\s*<!--\s*not run:\s*(\S.*?)\s*-->\s*", line):
            not_run = comment[1]
        elif line.strip():
            not_run = None
    if fence:
        raise ValueError(f"{name_of(page)}:{start - 1}: the block that begins here is never closed")
    return found
