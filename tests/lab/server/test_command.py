"""The arguments of `poise lab`: what is refused, in one line each."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from poise.cli import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "`RUNS` must be a folder or file; there is no 'nowhere'. Check the path."),
        (["--port", "70000"], "`--port` must be in [0, 65535]; got 70000. 0 takes a free one."),
        (["--figure", "../x"], "`--figure` must be a figure's id; got '../x'. Such as: poly."),
        (["--image", "no.png"], "`--image` must be a picture; there is no file 'no.png'. Check the path."),
        (["--host", "example.org"], "`--host` must be an IP address; got 'example.org'. Such as: 192.168.1.5."),
        (["--host", "0.0.0.0"], "`--host` must be one address; got 0.0.0.0, which means all. Name the one you mean."),
        (
            ["--host", "127.0.0.2"],
            "`--host` must come with --expose; got '127.0.0.2' alone. Others could reach the lab.",
        ),
    ],
)
def test_a_wrong_argument_is_told_in_one_line(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "--no-browser", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {words}\n")


def test_a_port_in_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["lab", "--no-browser", "--port", str(port)]) == 2
    words = f"error: `--port` must be free; {port} is in use. Leave it out to get a free one.\n"
    assert capsys.readouterr() == ("", words)


def test_an_address_of_another_machine_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "--no-browser", "--host", "192.0.2.1", "--expose"]) == 2
    assert capsys.readouterr().err.startswith("error: `--host` must be an address of this machine; got '192.0.2.1'.")


def test_a_file_that_is_no_log_ends_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert main(["lab", "--no-browser", str(tmp_path / "picture.png")]) == 2
    assert "must end in" in capsys.readouterr().err


def test_help_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "--help"]) == 0
    assert "Nothing leaves this machine." in " ".join(capsys.readouterr().out.split())
