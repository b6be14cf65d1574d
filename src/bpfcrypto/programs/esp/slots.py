"""Which slots of the map ``sas`` hold what, and how they are filled and emptied in an order that no crash can spoil."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bpfcrypto.errors import MapFullError

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.keys import KeyMaterial
    from bpfcrypto.programs.esp.program import Association, EspProgram


class Slots:
    """The slots, as they were when they were last read. One control plane at a time changes them.

    Args:
        program: the loaded programs.
    """

    def __init__(self, program: EspProgram) -> None:
        self._program = program
        self._held: dict[int, Association] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the map again, because another control plane may have changed it."""
        self._held = self._program.associations()

    def __getitem__(self, slot: int) -> Association:
        return self._held[slot]

    def __contains__(self, slot: int) -> bool:
        return slot in self._held

    def of(self, peer: int, *, outbound: bool) -> Iterator[tuple[int, Association]]:
        """The slots of a peer in one direction, with what they hold."""
        for slot, association in list(self._held.items()):
            if association.peer == peer and association.outbound == outbound:
                yield slot, association

    def find(self, peer: int, spi: int, *, outbound: bool) -> int | None:
        """The slot of a peer that has this SPI."""
        return next((slot for slot, held in self.of(peer, outbound=outbound) if held.spi == spi), None)

    def peers(self) -> set[int]:
        """The peers that have slots."""
        return {association.peer for association in self._held.values()}

    def install(self, association: Association, material: KeyMaterial) -> int:
        """Fill an empty slot.

        Raises:
            MapFullError: there is none.
        """
        for slot in range(1, self._program.slots):
            if slot not in self._held:
                self._program.install(slot, association, material)
                held = self._program.association(slot)
                assert held is not None
                self._held[slot] = held
                return slot
        raise MapFullError(
            f"all {self._program.slots - 1} security associations are in use",
            hint="take peers away, or shorten 'grace'",
        )

    def admit(self, slot: int) -> None:
        """End a slot's probation."""
        self._program.admit(slot)
        self._held[slot] = replace(self._held[slot], on_probation=False)

    def clear(self, slot: int) -> None:
        """Empty a slot. What comes for an inbound one is unknown first, so that no packet meets half of an SA."""
        held = self._held.pop(slot, None)
        if held is not None and not held.outbound:
            self._program.refuse(held.spi)
        self._program.clear(slot)
