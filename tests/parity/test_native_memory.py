"""What machine code found by itself can be handed to helpers in Python: records of a ring that run over its end, keys within a map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.kernel.engine import KernelEngine

OBJECT = Path(__file__).parents[1] / "bpf" / "native_memory.bpf.o"


@pytest.mark.kernel
@pytest.mark.parametrize("program", ["into_record", "into_dynptr"])
def test_records(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine, program: str) -> None:
    """Twice round the ring, with one record over its end each time."""
    with embedded_engine.load(OBJECT) as here, kernel_engine.load(OBJECT) as there:
        for number in range(40):
            seen = []
            for collection in (here, there):
                ring: Any = collection.maps["ring"]
                assert collection.programs[program].run(bytes(64 + number)).retval == 0
                seen.append((list(ring.records()), bytes(ring.ring.data), collection.variables["written"].value))
            assert seen[0] == seen[1], number
            assert len(seen[0][0]) == 1


@pytest.mark.kernel
def test_keys_and_values(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine) -> None:
    """An LRU map, whose updates are Python's, gets every element of the other."""
    seen = []
    for engine in (embedded_engine, kernel_engine):
        with engine.load(OBJECT) as collection:
            assert collection.programs["copy_elements"].run(bytes(64)).retval == 0
            seen.append((collection.variables["visited"].value, sorted(collection.maps["m_to"].items())))
    assert seen[0] == seen[1]
    assert seen[0][0] == 410
    assert len(seen[0][1]) == 14
