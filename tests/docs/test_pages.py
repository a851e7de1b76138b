"""The Python blocks of README.md and docs/ run: those of one page in order, in one namespace, in an empty folder."""

import doctest
import sys
from pathlib import Path
from types import CodeType, ModuleType

import pytest

import repository


def python_blocks(page: Path) -> list[repository.Block]:
    return [block for block in repository.blocks(page) if block.language == "python"]


RUN = [page for page in repository.pages() if python_blocks(page)]
NOT_RUN = [(page, block) for page in RUN for block in python_blocks(page) if block.not_run]


def compiled(block: repository.Block, page: Path) -> CodeType:
    """The empty lines in front make a traceback show the page's own lines."""
    return compile("\n" * (block.line - 1) + block.code, page, "exec", dont_inherit=True)


def run(block: repository.Block, page: Path, module: ModuleType) -> None:
    """Runs code as a script would; a block that begins with >>> is compared with the output it shows."""
    if block.code.lstrip().startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(block.code, {}, page.name, str(page), block.line - 1)
        test.globs = module.__dict__
        printed: list[str] = []
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=printed.append, clear_globs=False)
        assert not printed, "".join(printed)
    else:
        exec(compiled(block, page), module.__dict__)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("page", RUN, ids=repository.name_of)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # dataclasses and pickle look their module up
    monkeypatch.chdir(tmp_path)
    for block in python_blocks(page):
        if not block.not_run:
            run(block, page, module)


@pytest.mark.parametrize(("page", "block"), NOT_RUN, ids=[f"{repository.name_of(p)}:{b.line}" for p, b in NOT_RUN])
def test_block_not_run(page: Path, block: repository.Block) -> None:
    """Compiles it all the same, and shows the reason in the list of skipped tests."""
    compiled(block, page)
    pytest.skip(str(block.not_run))
