"""Print pip constraints: every lower bound of pyproject.toml's users' dependencies, made exact.

torch keeps the version of constraints.txt unless one is named, because older CPU builds are hard to come by; so do the
tools of the `dev` extra, which no user installs.

    python tools/lowest_versions.py [2.10.0]
"""

import itertools
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    tools = [re.split(r"[>\[]", wanted)[0] for wanted in extras.pop("dev")]
    wanted = [*project["dependencies"], *itertools.chain(*extras.values())]
    lowest = dict(re.findall(r"([\w.-]+)>=([\w.]+)", " ".join(wanted)))
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if name in {"torch", "setuptools", *tools}:
            lowest[name] = version
    lowest["torch"] = sys.argv[1] if len(sys.argv) > 1 else lowest["torch"]
    print("\n".join(f"{name}=={version}" for name, version in sorted(lowest.items())))


if __name__ == "__main__":
    main()
