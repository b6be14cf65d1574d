"""Helpers, kfuncs, contexts and test-run arguments, call by call, against what Linux 6.18 answered."""

from __future__ import annotations

import json
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.call_rows import rows
from support.calls import play
from support.need import skip_or_fail

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.kernel.engine import KernelEngine

RECORDED = Path(__file__).parents[1] / "vectors" / "kernel" / "calls.json"
ROWS = rows()
CHUNKS = [tuple(ROWS)[at : at + 20] for at in range(0, len(ROWS), 20)]


@cache
def source() -> str:
    """Where the answers come from."""
    return str(json.loads(RECORDED.read_text())["source"])


@cache
def recorded() -> dict[str, Any]:
    """The kernel's answers by row."""
    return json.loads(RECORDED.read_text())["rows"]


def test_every_row_is_recorded() -> None:
    """The file holds an answer for each row and nothing else (tools/record_calls.py writes it)."""
    assert recorded().keys() == ROWS.keys()


@pytest.mark.parametrize("names", CHUNKS, ids=lambda names: names[0])
def test_embedded_engine_answers_as_recorded(names: tuple[str, ...], embedded_engine: EmbeddedEngine) -> None:
    """Return values, packet, context and memory are those that the kernel gave."""
    answers = {name: play(embedded_engine, ROWS[name]) for name in names}

    assert answers == {name: recorded()[name] for name in names}


@pytest.mark.kernel
def test_kernel_still_answers_as_recorded(kernel_engine: KernelEngine) -> None:
    """The running kernel gives every recorded answer, if it is of the release that was recorded."""
    release = ".".join(platform.release().split(".")[:2])
    if f"Linux {release} " not in source():
        skip_or_fail(f"answers change between releases; {source()} is not Linux {release}")
    different = {name for name, row in ROWS.items() if play(kernel_engine, row) != recorded()[name]}

    assert different == set()
