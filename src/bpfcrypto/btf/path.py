"""Names of fields within a type, as C writes them: ``cctx``, ``keys[3].cctx``, ``tx.cctx``; of a data section, the variable first."""

from __future__ import annotations

from bpfcrypto.btf.record import SpecialField, special_fields
from bpfcrypto.btf.types import Array, Btf, Composite, DataSec
from bpfcrypto.btf.walk import MAX_DEPTH, size_of


def path_of(btf: Btf, type_id: int, offset: int) -> str:
    """The name of the member that starts at an offset and has none that starts there inside it.

    Members of anonymous structs and unions have their own name alone, as in C.

    Args:
        btf: the types.
        type_id: a struct, union, array or DATASEC; others have no members.
        offset: bytes from its start.

    Returns:
        The name; "" where no member is there.
    """
    path = ""
    for _ in range(MAX_DEPTH):
        found = _step(btf, type_id, offset)
        if found is None:
            break
        step, type_id, offset = found
        path += step if step.startswith("[") or not path or not step else f".{step}"
    return path


def named_fields(btf: Btf, type_id: int) -> dict[str, SpecialField]:
    """The special fields of a map value, by their names."""
    return {path_of(btf, type_id, field.offset): field for field in special_fields(btf, type_id)}


def _step(btf: Btf, type_id: int, offset: int) -> tuple[str, int, int] | None:
    """One step towards an offset: its text, the type that it leads to, and the offset in there."""
    record = btf[type_id] if isinstance(btf[type_id], DataSec) else btf[btf.resolve(type_id)]
    match record:
        case DataSec():
            for entry in record.variables:
                if entry.offset <= offset < entry.offset + entry.size:
                    variable = btf[entry.type_id]
                    return variable.name, variable.type_id, offset - entry.offset  # type: ignore[union-attr]
        case Array():
            size = size_of(btf, record.element)
            if size and offset < size * record.count:
                return f"[{offset // size}]", record.element, offset % size
        case Composite():
            for member in record.members:
                first = member.bit_offset // 8
                if first <= offset < first + size_of(btf, member.type_id):
                    return member.name, member.type_id, offset - first
    return None
