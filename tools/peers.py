"""Write docs/peers.md, what other libraries have and where poise has it, from tools/peers.csv: `python tools/peers.py`.

A `yes` of poise's own is not typed: it is written where the part can be imported and its test file exists.
"""

from __future__ import annotations

import csv
import importlib
from dataclasses import dataclass

import poise
import repository

SOURCE = repository.ROOT / "tools" / "peers.csv"
PAGE = repository.ROOT / "docs" / "peers.md"
HEAD = """# What others have

<!-- Written by tools/peers.py from tools/peers.csv; change that, then run `python tools/peers.py`. -->

Sixty-four techniques, and which libraries have them: y is yes, p is partly, empty is no. The libraries were read in
their source in 2026. Columns: Comp Composer, timm, Keras 3, Ltng Lightning, fastai, EnsPT Ensemble-PyTorch, ptopt
pytorch_optimizer, skorch, LibMTL, torch core, tv2 torchvision v2, optax, TU torch-uncertainty, TB torchbearer. The last
column names narrower projects: LN lassonet, SF schedule_free, TM tabm, DS davda54/sam, DB dropblock, OM openmixup, JD
TorchJD, PK pytabkit, HF hfta, IG ignite, TL torchlayers, KO kornia, MM mmpretrain, AP Auto-PyTorch's cocktails,
DC DeepCAVE, OP optuna, TP TensorFlow Playground, OG overfit-guard, PML pytorch-metric-learning, EP ema-pytorch.

The defects that were found by running some of them are tests here: `tests/test_peer_defects.py`,
`tests/test_peer_defects_of_runs.py`.
"""


@dataclass(frozen=True)
class Row:
    technique: str
    parts: tuple[str, ...]
    test: str
    others: tuple[str, ...]

    @property
    def is_there(self) -> bool:
        """Whether every part can be imported and the test file exists."""
        file = repository.ROOT / "tests" / self.test
        return bool(self.parts) and bool(self.test) and file.is_file() and all(found(part) for part in self.parts)


def found(name: str) -> bool:
    """Whether a public name of poise, or a module of it, is there."""
    if name.startswith("poise."):
        return importlib.util.find_spec(name) is not None
    return name in poise.__all__ and getattr(poise, name, None) is not None


def rows() -> tuple[list[str], list[Row]]:
    """The libraries' names, and the rows."""
    with SOURCE.open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    return head[3:], [Row(line[0], tuple(line[1].split()), line[2], tuple(line[3:])) for line in lines]


def page() -> str:
    """The whole page."""
    libraries, found_rows = rows()
    count = sum(row.is_there for row in found_rows)
    full = {name: sum(row.others[place] == "y" for row in found_rows) for place, name in enumerate(libraries[:-1])}
    best = ", ".join(f"{name} {number}" for name, number in sorted(full.items(), key=lambda item: -item[1])[:5])
    lines = [HEAD, f"**poise has {count} of {len(found_rows)}**; the next are {best}.", ""]
    lines += [f"| technique | poise | {' | '.join(libraries)} |", "|---|---|" + "---|" * len(libraries)]
    for row in found_rows:
        ours = f"[yes: {', '.join(row.parts)}](../tests/{row.test})" if row.is_there else "not yet"
        lines.append(f"| {row.technique} | {ours} | {' | '.join(row.others)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(f"{repository.name_of(PAGE)}: {sum(row.is_there for row in rows()[1])} of {len(rows()[1])}")
