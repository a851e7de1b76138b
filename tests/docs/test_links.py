"""Every relative link in the Markdown files leads to a file of the repository, and to a heading if it names one."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

import repository

MARKDOWN = [path for path in repository.files() if path.suffix == ".md"]
LINK = re.compile(
    r"""\]\(\s*<?([^)\s>]+)>?(?:\s+["'][^)]*)?\)"""  # [text](target "title"), ![text](target)
    r"""|^\s*\[[^\]]+\]:\s+<?([^\s>]+)"""  # [label]: target
    r"""|\b(?:src|href)=["']([^"']+)["']""",  # <img src="target">
    re.MULTILINE,
)


def prose(page: Path) -> str:
    """The page without its code."""
    text = re.sub(r"^\s*(```+|~~~+).*?^\s*\1\s*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("[", " ").replace("]", " "), text)


def anchors(page: Path) -> set[str]:
    """The names under which GitHub files the page's headings, and explicit ids."""
    text = prose(page)
    found: set[str] = set(re.findall(r"""<[^>]+\b(?:id|name)=["']([^"']+)""", text))
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*\s*$", text, flags=re.MULTILINE):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        again = 1
        while (slug := name if again == 1 else f"{name}-{again - 1}") in found:
            again += 1
        found.add(slug)
    return found


def problem(page: Path, link: str) -> str | None:
    """What is wrong with a link, in words."""
    if re.match(r"[a-zA-Z][\w+.-]*:|//", link):
        return None  # another site's; checking it would need the network
    target, _, anchor = link.partition("#")
    path = (page.parent / unquote(target)).resolve() if target else page
    ours = {folder for file in repository.files() for folder in (file, *file.parents)}
    if path not in ours:
        return f"{link}: no such file in the repository"
    if anchor and path.suffix == ".md" and unquote(anchor) not in anchors(path):
        return f"{link}: {path.name} has no such heading"
    return None


@pytest.mark.parametrize("page", MARKDOWN, ids=repository.name_of)
def test_links_lead_somewhere(page: Path) -> None:
    links = ["".join(groups) for groups in LINK.findall(prose(page))]
    problems = [found for link in links if (found := problem(page, link))]
    assert not problems, "\n".join([repository.name_of(page), *problems])
