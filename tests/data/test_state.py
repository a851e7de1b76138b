"""A fitted encoder and target travel as JSON and arrays, and mean the same in another process."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import poise.data
from poise.core.errors import CheckpointError
from poise.data import Encoder, Target

READER = """
import json, sys
import numpy as np, pandas as pd
from poise.data import Encoder, Target
folder = sys.argv[1]
stored = json.load(open(folder + "/state.json"))
with np.load(folder + "/arrays.npz", allow_pickle=False) as file:
    arrays = dict(file)
table = pd.read_json(folder + "/table.json", orient="table")
np.save(folder + "/out.npy", Encoder.from_state(stored["encoder"], arrays).transform(table))
print(json.dumps([Target.from_state(state).decode([0, 1]).tolist() for state in stored["targets"]]))
print("skrub" in sys.modules, "skops" in sys.modules)
"""


def table(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "n": np.where(rng.random(rows) < 0.1, np.nan, rng.standard_cauchy(rows)),
            "b": rng.random(rows) < 0.5,
            "c": rng.choice([*"abc", None], rows),
            "many": rng.choice([f"level {i}" for i in range(100)], rows),
            "when": [f"2021-0{1 + i % 9}-{1 + i % 28:02d}" for i in range(rows)],
            "text": [f"a sentence number {i} about nothing" for i in range(rows)],
        }
    )


def test_a_fresh_process_encodes_to_the_same_bits(tmp_path: Path) -> None:
    data = table()
    encoder = Encoder().fit(data)
    targets = [Target.fit(["no", "yes", "no"]), Target.fit([3, 5, 5, 3]), Target.fit([0.25, 1.5, 9.0])]
    state, arrays = encoder.state()
    stored = {"encoder": state, "targets": [target.state() for target in targets]}
    (tmp_path / "state.json").write_text(json.dumps(stored, allow_nan=False))
    np.savez(tmp_path / "arrays.npz", allow_pickle=False, **arrays)
    data.to_json(tmp_path / "table.json", orient="table", index=False, double_precision=15)
    again = pd.read_json(tmp_path / "table.json", orient="table")
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", READER, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(poise.data.__file__).parents[2],
    ).stdout.splitlines()
    assert np.array_equal(np.load(tmp_path / "out.npy"), encoder.transform(again))
    assert json.loads(told[0]) == [target.decode(np.array([0, 1])).tolist() for target in targets]
    assert told[1] == "False False"  # plain arrays: no other library's objects are stored


def test_a_state_rebuilds_every_public_attribute() -> None:
    encoder = Encoder(clip=2.0, max_levels=10).fit(table())
    again = Encoder.from_state(*encoder.state())
    assert (again.names, again.kinds, again.group_names) == (encoder.names, encoder.kinds, encoder.group_names)
    assert (again.clip, again.max_levels, again.missing) == (2.0, 10, "impute")
    assert np.array_equal(again.groups, encoder.groups)
    assert again.state()[0] == encoder.state()[0]


def test_foreign_and_damaged_states_are_refused() -> None:
    state, arrays = Encoder().fit(table()).state()
    with pytest.raises(CheckpointError, match="must have format 1; got 2"):
        Encoder.from_state(state | {"format": 2}, arrays)
    with pytest.raises(CheckpointError, match="damaged: KeyError"):
        Encoder.from_state(state, {})
    with pytest.raises(CheckpointError, match="damaged"):
        Encoder.from_state({"format": 1}, arrays)
    with pytest.raises(CheckpointError, match="damaged"):
        Target.from_state({"format": 1, "task": "regression"})


def test_no_source_of_the_folder_can_unpickle_or_run_code() -> None:
    banned = {"pickle", "joblib", "skops", "dill", "marshal", "eval", "exec", "torch", "read_pickle"}
    for path in Path(poise.data.__file__).parent.glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                names.add((node.module or "").split(".")[0])
        assert not names & banned, path.name
