"""What a test needs of the machine and does not find."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRE_KERNEL = "BPFCRYPTO_REQUIRE_KERNEL"


def skip_or_fail(reason: str) -> NoReturn:
    """Skip a test that this machine cannot run; where BPFCRYPTO_REQUIRE_KERNEL=1 promises that it can, that is a failure."""
    if os.environ.get(REQUIRE_KERNEL) == "1":
        pytest.fail(f"{REQUIRE_KERNEL}=1: {reason}", pytrace=False)
    pytest.skip(reason)
