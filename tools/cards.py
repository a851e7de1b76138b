"""Write docs/regularizers.md, a card for each regularizer, from the classes themselves: `python tools/cards.py`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re

import repository
from poise.core.dial import Dial, dials_of
from poise.core.regularizer import EVERY_STAGE, Regularizer

PAGE = repository.ROOT / "docs" / "regularizers.md"
HEAD = """# Regularizers

<!-- Written by tools/cards.py from the classes; change those, then run `python tools/cards.py`. -->

Every regularizer of poise, by the first stage in which it acts. A dial is a number, a schedule, or a tensor with one
number a member of a population; at its neutral value the part does nothing. "Searched" is the range that the
declaration calls worth trying (a study has narrower ranges of its own for some, in `poise/study/space.py`).
"""
WHEN = {
    "network": "before training, once: layers are inserted",
    "batch": "inputs and targets are edited",
    "objective": "terms are added to the loss",
    "gradient": "gradients are edited",
    "shrink": "weights, before the optimizer's step",
    "update": "weights, after the optimizer's step",
    "average": "the weights that evaluation uses",
    "stop": "after each evaluation",
    "predict": "after training, once",
}


def regularizers() -> dict[str, list[type[Regularizer]]]:
    """The package's regularizers by the stage whose folder they live in, in the order of the stages, then by name."""
    folders = [stage for stage in EVERY_STAGE if (repository.ROOT / "poise" / stage).is_dir()]
    for folder in folders:
        importlib.import_module(f"poise.{folder}")
    found: dict[str, list[type[Regularizer]]] = {stage: [] for stage in EVERY_STAGE}
    for kind in sorted(Regularizer.registry.values(), key=lambda kind: kind.__name__):
        package, folder = (*kind.__module__.split("."), "")[:2]
        if package == "poise" and folder in folders:  # a script's or a test's own class is not the package's
            # L1 reports a term among the objective's, but it acts on the weights: its folder says so.
            found["shrink" if folder == "update" and "shrink" in kind.stages() else folder].append(kind)
    return found


def paragraphs(kind: type[Regularizer]) -> tuple[str, str]:
    """The first sentence of a class's docstring, and what follows it up to the named parts, each on one line."""
    first, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")
    prose = re.split(r"\n(?=Neutral:)", rest)[0].strip()
    return " ".join(first.split()), " ".join(prose.split())


def named(kind: type[Regularizer], part: str) -> str:
    """One named part of a class's docstring (Neutral, Units, Source), on one line."""
    text = inspect.cleandoc(kind.__doc__ or "")
    match = re.search(rf"^{part}: (.*?)(?=^\S+: |^\s*$|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return " ".join(match[1].split()) if match else ""


def cell(text: str) -> str:
    """Text as it may stand in a cell of a table."""
    return text.replace("|", r"\|")


def escaped(text: str) -> str:
    """Prose in which Markdown sees no markup of its own."""
    return re.sub(r"([*_<>\[\]|])", r"\\\1", text)


def dial_row(name: str, dial: Dial) -> str:
    low, high = dial.search
    searched = f"{low:g} to {high:g}{', log scale' if dial.log else ''}"
    cells = (f"`{name}`", f"{dial.default:g}", f"{dial.neutral:g}", dial.rule, searched, dial.unit or "")
    return f"| {' | '.join(cell(text) for text in cells)} |"


def card(kind: type[Regularizer]) -> list[str]:
    first, prose = paragraphs(kind)
    lines = [f"### {kind.__name__}", "", escaped(first), "", "```text", kind.formula, "```", "", escaped(prose), ""]
    if dials := dials_of(kind):
        lines += ["| dial | default | neutral | legal | searched | unit |", "|---|---|---|---|---|---|"]
        lines += [dial_row(name, dial) for name, dial in dials.items()] + [""]
    plain = [f for f in dataclasses.fields(kind) if "dial" not in f.metadata and f.name != "name"]
    if plain:
        shown = (f"`{f.name}`" + ("" if f.default is dataclasses.MISSING else f" = `{f.default!r}`") for f in plain)
        lines += [f"- Structure: {', '.join(shown)}"]
    lines += [
        f"- Stages: {' → '.join(kind.stages())}",
        f"- Neutral: {escaped(named(kind, 'Neutral'))}",
        f"- Cost: {escaped(kind.cost)}",
        f"- Units: {escaped(named(kind, 'Units'))}",
        f"- Source: {escaped(named(kind, 'Source'))}",
        f"- Code: [{kind.__module__.replace('.', '/')}.py](../{kind.__module__.replace('.', '/')}.py)",
        "",
    ]
    return lines


def page() -> str:
    """The whole page."""
    found = regularizers()
    lines = [HEAD, "| stage | regularizer | formula | neutral |", "|---|---|---|---|"]
    for stage, kinds in found.items():
        for kind in kinds:
            neutral = ", ".join(f"{name} = {dial.neutral:g}" for name, dial in dials_of(kind).items())
            link = f"[{kind.__name__}](#{kind.__name__.lower()})"
            tick = "``" if "`" in kind.formula else "`"
            lines.append(f"| {stage} | {link} | {tick}{cell(kind.formula)}{tick} | {neutral} |")
    lines += [""]
    for stage, kinds in found.items():
        lines += [f"## Stage {stage}", "", WHEN[stage][0].upper() + WHEN[stage][1:] + ".", ""]
        if not kinds:
            lines += ["No regularizer acts here yet.", ""]
        for kind in kinds:
            lines += card(kind)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(f"{repository.name_of(PAGE)}: {sum(len(kinds) for kinds in regularizers().values())} regularizers")
