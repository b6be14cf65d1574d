"""Maps that programs reach by special helpers only: the verifier lets no plain lookup, update or deletion through."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from bpfcrypto.embedded.map_base import EmbeddedMap
from bpfcrypto.embedded.memory import AccessFault

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes


class GuardedMap(EmbeddedMap):
    """A map whose elements only user space changes."""

    def lookup_address(self, _key: Bytes, _cpu: int) -> int:
        """Refused, as by the verifier: AccessFault."""
        self._refuse_program("bpf_map_lookup_elem")

    def update_from_program(self, _key: Bytes, _value: Bytes, _flags: int, _cpu: int) -> int:
        """Refused, as by the verifier: AccessFault."""
        self._refuse_program("bpf_map_update_elem")

    def delete_from_program(self, _key: Bytes) -> int:
        """Refused, as by the verifier: AccessFault."""
        self._refuse_program("bpf_map_delete_elem")

    def _refuse_program(self, helper: str) -> NoReturn:
        raise AccessFault(f"{helper} does not work on map '{self.name}' of type {self._spec.type.name}")
