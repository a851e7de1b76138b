"""Every table of the shared collection goes through inspection, encoding, target and split."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poise.core.errors import PoiseWarning
from poise.data import Encoder, Target, inspect, read, split

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "tables"
PATHS = sorted(FOLDER.glob("*.parquet"))
ROWS = 2_000  # of each table


@pytest.mark.skipif(not PATHS, reason=f"the shared tables are not at {FOLDER}")
def test_the_whole_collection_is_there() -> None:
    assert len(PATHS) == 26


@pytest.mark.parametrize("path", PATHS or [None], ids=lambda path: path.stem if path else "absent")
def test_table(path: Path | None) -> None:
    if path is None:
        pytest.skip(f"the shared tables are not at {FOLDER}")
    table = read(path, target="target")
    assert table.target is not None
    rows = np.sort(np.random.default_rng(0).permutation(len(table.frame))[:ROWS])
    frame, goal = table.frame.iloc[rows], table.target.iloc[rows]
    found = inspect(frame, goal)
    assert not found.leaks
    assert not found.identifiers
    frame = frame.drop(columns=list(found.empty))

    target = Target.fit(goal)
    task = pd.read_csv(FOLDER / "INDEX.csv").set_index("name")["task"][path.stem]
    assert target.task == ("regression" if task == "regression" else "classification")
    encoded_target = target.encode(goal)
    assert np.isfinite(encoded_target).all()
    decoded = target.decode(encoded_target)
    if target.task == "regression":
        np.testing.assert_allclose(decoded, goal.to_numpy(float), rtol=1e-5, atol=1e-5 * target.scale)
    else:
        assert decoded.tolist() == goal.tolist()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)  # classes of a few rows, levels of a few rows
        parts = split(goal, task=target.task)
        frame = frame.loc[:, frame.iloc[parts.train].notna().any()]  # a rare value may be in another part only
        encoder = Encoder().fit(frame.iloc[parts.train])
        encoded = encoder.transform(frame)
    assert sorted(np.concatenate([parts.train, parts.stop, parts.validation, parts.test])) == list(range(len(frame)))
    assert encoded.shape == (len(frame), len(encoder.names))
    assert encoded.dtype == np.float32
    assert np.isfinite(encoded).all()
    assert np.abs(encoded).max() <= 3.0
    assert encoder.groups.tolist() == sorted(encoder.groups.tolist())
    assert len(encoder.kinds) == len(encoder.group_names) == encoder.groups.max() + 1
    for group, kind in enumerate(encoder.kinds):
        columns = encoded[:, encoder.groups == group]
        if kind == "category":
            assert np.isin(columns, (0, 1)).all()
        if kind == "category" and columns.shape[1] > 1:
            assert (columns.sum(axis=1) == 1).all()
    state, arrays = encoder.state()
    again = Encoder.from_state(json.loads(json.dumps(state)), arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)
        assert np.array_equal(again.transform(frame), encoded)
