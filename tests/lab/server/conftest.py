"""A lab of sample figures that all tests of the server share, and a client that speaks to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for the sample figures, here and in the children

from client import Client

from poise.lab.server.lab import Lab
from poise.lab.server.serve import Server, running


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    rows = '{"step": 1, "train_loss": 2.0, "val_loss": 3.0}\n{"step": 2, "train_loss": 1.0, "val_loss": 2.0}\n'
    (folder / "loop.jsonl").write_text(rows, encoding="utf-8")
    (folder / "again.csv").write_text("step,train_loss,val_loss\n1,2,3\n2,1,4\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def server(places: Path) -> Iterator[Server]:
    with running(Lab([str(places)], source="sample_shelf")) as one:
        yield one


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server)
