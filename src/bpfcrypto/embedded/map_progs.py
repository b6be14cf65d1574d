"""PROG_ARRAY (kernel/bpf/arraymap.c): programs by index, for bpf_tail_call."""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.embedded.engine_program import EmbeddedProgram
from bpfcrypto.embedded.map_base import Surroundings
from bpfcrypto.embedded.map_objects import ObjectArray, check_home, descriptor_errno
from bpfcrypto.embedded.map_owner import Owner

if TYPE_CHECKING:
    from bpfcrypto.spec import MapSpec


class ProgArrayMap(ObjectArray[EmbeddedProgram]):
    """Programs by index; all of them like the first one (:mod:`bpfcrypto.embedded.map_owner`)."""

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self.owner: Owner = Owner(attach_type=True)

    def _accept(self, value: object) -> EmbeddedProgram | int:
        if not isinstance(value, EmbeddedProgram):
            return descriptor_errno(value)
        check_home(value.home, self.home, "a program of another collection")
        return value if self.owner.admits(value.spec) else EINVAL

    def _id(self, held: EmbeddedProgram) -> int:
        return held.id
