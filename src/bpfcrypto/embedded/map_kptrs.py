"""What the kptrs of an element hold, for people who debug: the kernel shows user space zero bytes there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from bpfcrypto.embedded.contexts import CryptoContext
from bpfcrypto.engine import HeldKptr

if TYPE_CHECKING:
    from bpfcrypto.btf.record import SpecialField
    from bpfcrypto.embedded.memory import Memory

_POINTER_SIZE = 8


def held_kptrs(memory: Memory, fields: Sequence[SpecialField], places: Iterable[tuple[int, int]]) -> Iterator[HeldKptr]:
    """The kptrs that are not NULL.

    Args:
        memory: where values and what they hold are.
        fields: special fields of a value.
        places: CPU and address of each copy of the value.
    """
    for cpu, address in places:
        for field in fields:
            pointer = memory.load(address + field.offset, _POINTER_SIZE) if field.is_kptr else 0
            if pointer:
                yield _described(field, cpu, memory.owner(pointer))


def _described(field: SpecialField, cpu: int, held: object) -> HeldKptr:
    if isinstance(held, CryptoContext):
        return HeldKptr(field.offset, cpu, field.type_name, held.cipher.algorithm.name, held.references)
    return HeldKptr(field.offset, cpu, field.type_name)
