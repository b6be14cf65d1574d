"""The clocks of both engines show the same time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.engine import Engine
    from bpfcrypto.kernel.engine import KernelEngine

OBJECT = Path(__file__).parents[1] / "bpf" / "clocks.bpf.o"
NANOSECONDS = ("nd_mono", "nd_boot", "nd_coarse", "nd_tai")
APART = 2_000_000_000  # between one engine's run and the other's


def shown(engine: Engine) -> dict[str, int]:
    """What the clocks show."""
    with engine.load(OBJECT) as collection:
        assert collection.programs["of_packets"].run(bytes(60)).retval == 31
        return {
            name: int.from_bytes(collection.variables[name].bytes, "little") for name in (*NANOSECONDS, "nd_jiffies")
        }


@pytest.mark.kernel
def test_clocks_agree(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine) -> None:
    """Each clock counts from the same moment, whatever it is; and jiffies go up."""
    here, there = shown(embedded_engine), shown(kernel_engine)

    assert [name for name in NANOSECONDS if not 0 <= there[name] - here[name] < APART] == []
    assert all(each["nd_jiffies"] > 0 for each in (here, there))
