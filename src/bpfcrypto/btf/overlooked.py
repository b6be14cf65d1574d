"""Fields of a map value that look special and are not: the kernel takes them for plain bytes and says nothing.

A pointer that is meant to be a kptr then holds a number, which no helper takes, and a lock locks nothing. :mod:`bpfcrypto.btf.record`
has the rules. Here everything that carries a tag, or the name of a special struct, is looked for wherever it is, also behind names,
qualifiers and in unions, and compared with what those rules find.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfcrypto.btf.record import MAX_FIELDS, FieldKind, special_fields
from bpfcrypto.btf.types import Array, Btf, Composite, DataSec, Fwd, Kind, Ref, Var
from bpfcrypto.btf.walk import MAX_DEPTH, QUALIFIERS
from bpfcrypto.errors import BtfError

_POINTERS = frozenset({"kptr", "kptr_untrusted", "percpu_kptr", "uptr"})
_STRUCTS = frozenset(kind.value for kind in FieldKind) - _POINTERS
_MEANT = (
    "kptr",
    "kptr_ref",
    "kptr_untrusted",
    "uptr",
)  # ends of the tags that are, were or could be taken for those of kptrs
_MOST = 64  # fields of one value that are reported


@dataclass(frozen=True, slots=True)
class Overlooked:
    """One such field.

    Attributes:
        path: its members' names, such as ``slots[0].cctx``.
        offset: of its first byte in the value.
        what: its tag, or the name of its struct.
        reason: why it is plain bytes.
    """

    path: str
    offset: int
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    path: str
    offset: int
    what: str
    reason: str  # "" where nothing is wrong with the field itself


def overlooked(btf: Btf, type_id: int) -> tuple[Overlooked, ...]:
    """What the kernel overlooks in a map value, by offset.

    Args:
        btf: the object's types.
        type_id: the value type: a struct, or the DATASEC of a data section.
    """
    found = {field.offset for field in special_fields(btf, type_id)}
    seen: dict[int, Overlooked] = {}
    for each in _candidates(btf, type_id, "", 0, "", 0):
        if each.offset not in found and each.offset not in seen:
            reason = each.reason or f"another field makes the kernel give up, or there are more than {MAX_FIELDS}"
            seen[each.offset] = Overlooked(each.path, each.offset, each.what, reason)
        if len(seen) == _MOST:
            break
    return tuple(seen[offset] for offset in sorted(seen))


def _candidates(btf: Btf, type_id: int, path: str, offset: int, reason: str, level: int) -> Iterator[_Candidate]:
    """Everything below a type that looks special; ``reason`` says why nothing there can be, "" so far."""
    if level > MAX_DEPTH:
        return
    record = btf[type_id]
    if isinstance(record, Ref) and record.kind is Kind.PTR:
        yield from _pointer(btf, record, path, offset, reason)
    elif isinstance(record, Ref) and record.kind in QUALIFIERS:
        # one volatile in front of a pointer is looked through
        behind = btf[record.type_id]
        through = record.kind is Kind.VOLATILE and isinstance(behind, Ref) and behind.kind is Kind.PTR
        why = reason if through else reason or f"it is behind a {record.kind.name.lower()}"
        yield from _candidates(btf, record.type_id, path, offset, why, level + 1)
    elif isinstance(record, Array):
        yield from _elements(btf, record, path, offset, reason, level)
    elif isinstance(record, DataSec):
        for entry in record.variables:
            variable = btf[entry.type_id]
            if isinstance(variable, Var):
                yield from _candidates(btf, variable.type_id, variable.name, entry.offset, reason, level + 1)
    elif isinstance(record, Composite) and record.name in _STRUCTS and record.kind is Kind.STRUCT:
        yield _Candidate(path, offset, f"struct {record.name}", reason)
    elif isinstance(record, Composite):
        why = reason or ("it is in a union" if record.kind is Kind.UNION else "")
        for member in record.members:
            name = ".".join(filter(None, (path, member.name)))
            if not member.bit_offset % 8:
                yield from _candidates(btf, member.type_id, name, offset + member.bit_offset // 8, why, level + 1)


def _elements(btf: Btf, array: Array, path: str, offset: int, reason: str, level: int) -> Iterator[_Candidate]:
    try:
        size = btf.size_of(array.element)
    except BtfError:
        return
    why = reason or (f"its array has more than {MAX_FIELDS} elements" if array.count > MAX_FIELDS else "")
    for index in range(min(array.count, MAX_FIELDS + 1)):
        yield from _candidates(btf, array.element, f"{path}[{index}]", offset + index * size, why, level + 1)


def _pointer(btf: Btf, pointer: Ref, path: str, offset: int, reason: str) -> Iterator[_Candidate]:
    tag = btf[pointer.type_id]
    if not isinstance(tag, Ref) or tag.kind is not Kind.TYPE_TAG:
        return
    behind = btf[tag.type_id]
    second = behind.name if isinstance(behind, Ref) and behind.kind is Kind.TYPE_TAG else ""
    if not tag.name.endswith(_MEANT) and not second.endswith(_MEANT):
        return
    if second:
        why = f"it has two tags, '{second}' and '{tag.name}'"
    elif tag.name not in _POINTERS:
        why = f"the kernel knows no tag '{tag.name}'"
    else:
        why = _target(btf, tag.type_id)
    yield _Candidate(path, offset, f"'{tag.name}' pointer", reason or why)


def _target(btf: Btf, type_id: int) -> str:
    """What is wrong with a kptr's target; "" for nothing."""
    target = btf[btf.resolve(type_id)]
    if isinstance(target, Fwd):
        return f"'{target.name}' is declared and not defined"
    if isinstance(target, Composite) and target.kind is Kind.STRUCT:
        return ""
    return "it does not point to a struct"
