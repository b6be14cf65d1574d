"""Both engines side by side, the embedded one both ways, on one CPU: per-CPU maps then show the same copies."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _one_cpu(one_cpu: None, each_way: str) -> None:
    """Every test of this folder."""
