"""Tests of kernels run with the native tier and with the eager twins."""

from collections.abc import Iterator

import pytest

from poise.kernels import native


@pytest.fixture(params=["native", "eager"])
def tier(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each test twice; the native one is left out where no compiler was found."""
    with native(request.param == "native") as there:
        if request.param == "native" and not there:
            pytest.skip("the native kernels are not built: no C compiler")
        yield request.param
