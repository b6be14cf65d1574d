"""The object for captures on an engine: besides what :class:`~bpfcrypto.programs.esp.program.EspProgram` has, which SAs packets are of."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcrypto.btf.values import decode
from bpfcrypto.loader.load import load_spec
from bpfcrypto.programs.esp.program import EspProgram
from bpfcrypto.programs.esp.wire import Address, address_of, packed, words

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.program import Association
    from bpfcrypto.spec import CollectionSpec

OBJECT = Path(__file__).resolve().parent / "esp_captures.bpf.o"
PROGRAMS = ("install", "look", "open")


@functools.cache
def captures_spec() -> CollectionSpec:
    """The object."""
    return load_spec(OBJECT.read_bytes(), OBJECT.name)


@dataclass(frozen=True, slots=True)
class Flow:
    """What tells the SA of an ESP packet: ``struct flow`` of ``captured.h``."""

    spi: int
    source: Address
    target: Address


class CapturedProgram(EspProgram):
    """The loaded object, of :func:`captures_spec`."""

    def flows(self) -> set[Flow]:
        """Of the packets that the program ``look`` has seen, and of the SAs that are opened with."""
        table = self._map("flows")
        found = (decode(self._btf, table.spec.key_type, key) for key, _ in table.items())
        return {Flow(each["spi"], address_of(each["source"]), address_of(each["target"])) for each in found}

    def open_with(self, association: Association, slot: int) -> None:
        """From now on packets of this SA, of either direction, are opened with that slot."""
        flow: dict[str, Any] = {
            "spi": association.spi,
            "source": words(packed(association.source)),
            "target": words(packed(association.target)),
        }
        table = self._map("flows")
        table.update(self._encode(table.spec.key_type, flow), slot.to_bytes(4, "little"))
