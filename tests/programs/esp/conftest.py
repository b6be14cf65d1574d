"""The programs of ESP, loaded once on each engine for all tests in here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.esp import bench

if TYPE_CHECKING:
    from support.esp import Bench


@pytest.fixture(scope="package")
def embedded_esp() -> Iterator[Bench]:
    """ESP on the embedded engine."""
    from bpfcrypto.embedded.engine import EmbeddedEngine

    with bench(EmbeddedEngine()) as found:
        yield found


@pytest.fixture(scope="package")
def kernel_esp() -> Iterator[Bench]:
    """ESP on the kernel; the test must be marked ``kernel``."""
    from bpfcrypto.kernel.engine import KernelEngine

    with bench(KernelEngine()) as found:
        yield found


@pytest.fixture(scope="package", params=["embedded", pytest.param("kernel", marks=pytest.mark.kernel)])
def esp(request: pytest.FixtureRequest) -> Bench:
    """ESP on each engine in turn."""
    found: Bench = request.getfixturevalue(f"{request.param}_esp")
    return found
