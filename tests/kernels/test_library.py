"""Where the compiled kernels come from, and how they are left aside."""

import os
import subprocess
import sys

import pytest

from poise.kernels import available, library, native


def test_the_switch_holds_within_its_block_only() -> None:
    before = available()
    with native(False) as there:
        assert not there
        assert not available()
    assert available() == before


def test_the_environment_turns_the_kernels_off() -> None:
    told = "from poise.kernels import available; print(available())"
    run = subprocess.run(
        [sys.executable, "-c", told], env=os.environ | {"POISE_NATIVE": "0"}, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


def test_a_kernel_of_no_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_library", lambda: None)
    assert not available()
    with pytest.raises(RuntimeError, match="poise_words"):
        library.function("poise_words")()


def test_a_library_of_another_interface_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "source_number", lambda: -1)
    assert library._library.__wrapped__() is None
