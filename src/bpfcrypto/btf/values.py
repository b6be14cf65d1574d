"""Bytes to Python values and back, by BTF type.

| C | Python |
|---|---|
| integer, bit field | int, checked against its range; ``bool`` for ``_Bool`` |
| enumeration | the enumerator's name where one has the value, else int; either is taken |
| ``float``, ``double`` | float |
| ``char[n]`` | str up to the first NUL if that is UTF-8, else bytes; takes str or bytes, padded with NUL |
| ``unsigned char[n]``, ``signed char[n]`` | bytes; takes bytes, str (as UTF-8) or a list of integers, padded with NUL |
| other arrays | list; a shorter list leaves the rest zero |
| struct, union, data section | dict by member; a missing member stays zero; members of anonymous ones count as their parent's |
| pointer | int |
| kptr, lock, timer, ... | None: the kernel keeps them; only None (or nothing) can be stored |

A union decodes to all of its members; on encoding, members are stored in the order of the type, so give one of them, or such as agree.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from operator import index as as_index
from typing import Any, NoReturn

from bpfcrypto.btf.format import type_name
from bpfcrypto.btf.record import FieldKind, pointer_kind
from bpfcrypto.btf.types import Array, Btf, Composite, DataSec, Enum, Float, Int, Kind, Member, Ref, Type, Var
from bpfcrypto.btf.walk import MAX_DEPTH, POINTER_SIZE
from bpfcrypto.errors import BtfError, MapTypeError

_FLOATS = {2: "<e", 4: "<f", 8: "<d"}
_RESERVED = frozenset(kind.value for kind in FieldKind if kind.value.startswith("bpf_"))

Place = tuple[int, int]
"""First bit and number of bits, counted from the start of the buffer."""


def decode(btf: Btf, type_id: int, data: bytes) -> Any:
    """The Python value that bytes stand for.

    Args:
        btf: the table that ``type_id`` belongs to.
        type_id: the value's type.
        data: at least as many bytes as the type has; the rest is left out of account.

    Raises:
        MapTypeError: too few bytes, or a type that has no values (void, function).
        BtfError: the type is damaged.
    """
    size = btf.size_of(type_id)
    if len(data) < size:
        raise MapTypeError(f"a value of type '{type_name(btf, type_id)}' has {size} bytes, here are {len(data)}")
    return _decode(btf, type_id, data[:size], 0, 0)


def encode(btf: Btf, type_id: int, value: Any, *, name: str = "value") -> bytes:
    """The bytes that stand for a Python value.

    Args:
        btf: the table that ``type_id`` belongs to.
        type_id: the value's type.
        value: see the table above.
        name: what messages call the value.

    Raises:
        MapTypeError: the value does not fit; the message names the member and what it can hold.
        BtfError: the type is damaged.
    """
    buffer = bytearray(btf.size_of(type_id))
    _encode(btf, type_id, value, buffer, (0, 8 * len(buffer)), name, 0)
    return bytes(buffer)


def _special(btf: Btf, type_id: int) -> bool:
    """Whether the kernel keeps a field of this type for itself; it does not look behind names and qualifiers."""
    record = btf[type_id]
    if isinstance(record, Composite):
        return record.kind is Kind.STRUCT and record.name in _RESERVED
    return pointer_kind(btf, type_id) is not None


def _settled(btf: Btf, type_id: int, level: int) -> tuple[int, Type]:
    if level > MAX_DEPTH:
        raise MapTypeError("the type is nested more than 32 deep")
    type_id = btf.resolve(type_id)
    return type_id, btf[type_id]


def _span(data: bytes | bytearray, first: int, last: int) -> Place:
    """The byte range, if it is inside: a damaged table may place a member outside its struct."""
    if last > len(data):
        raise BtfError(f"a member at bytes {first}..{last} of a type of {len(data)}", section=".BTF")
    return first, last


def _integer(data: bytes | bytearray, place: Place) -> int:
    start, bits = place
    first, last = _span(data, start // 8, (start + bits + 7) // 8)
    return int.from_bytes(data[first:last], "little") >> start % 8 & ((1 << bits) - 1)


def _store(buffer: bytearray, place: Place, number: int) -> None:
    start, bits = place
    first, last = _span(buffer, start // 8, (start + bits + 7) // 8)
    mask = ((1 << bits) - 1) << start % 8
    old = int.from_bytes(buffer[first:last], "little")
    new = old & ~mask | (number << start % 8) & mask
    buffer[first:last] = new.to_bytes(last - first, "little")


def _as_signed(number: int, bits: int) -> int:
    return number - (1 << bits) if number >> (bits - 1) else number


def _is_text(record: Type) -> bool:
    """Whether an array of this is text: plain ``char``, which compilers mark by its name alone."""
    return isinstance(record, Int) and record.size == 1 and (record.name == "char" or record.is_char)


def _is_byte(record: Type) -> bool:
    return isinstance(record, Int) and record.size == 1 and record.bits == 8 and not record.is_bool


def _decode(btf: Btf, type_id: int, data: bytes, at: int, level: int) -> Any:
    """The value at byte ``at``."""
    if _special(btf, type_id):
        return None
    type_id, record = _settled(btf, type_id, level)
    match record:
        case Int() | Enum():
            return _scalar(record, data, (at * 8 + getattr(record, "offset", 0), _bits(record)))
        case Float():
            first, last = _span(data, at, at + record.size)
            return struct.unpack(_float_format(record), data[first:last])[0]
        case Ref():
            return _integer(data, (at * 8, 8 * POINTER_SIZE))
        case Array():
            return _decode_array(btf, record, data, at, level)
        case Composite():
            return _decode_members(btf, record, data, at, level)
        case DataSec():
            rows = ((btf[row.type_id], row.offset) for row in record.variables)
            return {
                v.name: _decode(btf, v.type_id, data, at + where, level + 1) for v, where in rows if isinstance(v, Var)
            }
        case Var():
            return _decode(btf, record.type_id, data, at, level + 1)
        case _:
            raise MapTypeError(f"type '{type_name(btf, type_id)}' has no values")


def _bits(record: Int | Enum) -> int:
    return record.bits if isinstance(record, Int) else 8 * record.size


def _scalar(record: Int | Enum, data: bytes, place: Place) -> int | bool | str:
    number = _integer(data, place)
    if record.signed:
        number = _as_signed(number, place[1])
    if isinstance(record, Enum):
        return next((entry.name for entry in record.values if entry.value == number), number)
    return bool(number) if record.is_bool else number


def _float_format(record: Float) -> str:
    if record.size not in _FLOATS:
        raise MapTypeError(f"floating-point numbers of {record.size} bytes have no Python value")
    return _FLOATS[record.size]


def _decode_array(btf: Btf, array: Array, data: bytes, at: int, level: int) -> Any:
    element = btf[btf.resolve(array.element)]
    if _is_text(element):
        first, last = _span(data, at, at + array.count)
        raw = data[first:last]
        try:
            return raw.split(b"\0", 1)[0].decode()
        except UnicodeDecodeError:
            return raw
    if _is_byte(element):
        first, last = _span(data, at, at + array.count)
        return data[first:last]
    size = btf.size_of(array.element) if array.count else 0
    count = array.count if size else 0  # elements without bytes have no values, however many there are
    return [_decode(btf, array.element, data, at + i * size, level + 1) for i in range(count)]


def _decode_members(btf: Btf, composite: Composite, data: bytes, at: int, level: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for member in composite.members:
        start = at * 8 + member.bit_offset
        record = btf[btf.resolve(member.type_id)]
        if isinstance(record, Int | Enum) and (member.bit_size or start % 8):
            if member.name:
                inside = 0 if member.bit_size else getattr(record, "offset", 0)
                found[member.name] = _scalar(record, data, (start + inside, member.bit_size or _bits(record)))
        elif member.name:
            found[member.name] = _decode(btf, member.type_id, data, start // 8, level + 1)
        elif isinstance(record, Composite):
            _settled(btf, member.type_id, level + 1)
            found |= _decode_members(btf, record, data, start // 8, level + 1)
    return found


def _encode(btf: Btf, type_id: int, value: Any, buffer: bytearray, place: Place, path: str, level: int) -> None:
    """Store ``value`` at ``place``, whose second half only counts for bit fields."""
    special = _special(btf, type_id)
    type_id, record = _settled(btf, type_id, level)
    start, bits = place
    if special:
        if value is not None:
            what = "kernel pointer" if isinstance(record, Ref) else f"struct {record.name}"
            raise MapTypeError(f"'{path}' is a {what}: only programs can set it", hint="leave it out, or give None")
        return
    match record:
        case Int():
            whole = bits == 8 * record.size
            _encode_int(record, value, buffer, (start + record.offset, record.bits) if whole else place, path)
        case Enum():
            _encode_enum(record, value, buffer, place, path)
        case Float():
            first, last = _span(buffer, start // 8, start // 8 + record.size)
            try:
                buffer[first:last] = struct.pack(_float_format(record), value)
            except (struct.error, OverflowError, TypeError):
                _refuse(path, value, f"a floating-point number of {record.size} bytes")
        case Ref():
            _store(buffer, (start, 64), _checked(value, 0, (1 << 64) - 1, path, "a pointer"))
        case Array():
            _encode_array(btf, record, value, buffer, start // 8, path, level)
        case Composite():
            _encode_members(btf, record, _mapping(value, path, btf, type_id), buffer, start // 8, path, level)
        case DataSec():
            _encode_section(btf, record, _mapping(value, path, btf, type_id), buffer, start // 8, level)
        case Var():
            _encode(btf, record.type_id, value, buffer, place, path, level + 1)
        case _:
            raise MapTypeError(f"'{path}': type '{type_name(btf, type_id)}' has no values")


def _refuse(path: str, value: Any, expected: str) -> NoReturn:
    # The value itself is left out unless it is a number: it may be key material in the wrong place.
    shown = repr(value) if isinstance(value, int | float) else f"a value of type {type(value).__name__}"
    raise MapTypeError(f"'{path}' takes {expected}, not {shown}")


def _checked(value: Any, low: int, high: int, path: str, what: str) -> int:
    expected = f"{what} from {low} to {high}"
    try:
        number = as_index(value)
    except TypeError:
        _refuse(path, value, expected)
    if not low <= number <= high:
        _refuse(path, number, expected)
    return number


def _encode_int(record: Int, value: Any, buffer: bytearray, place: Place, path: str) -> None:
    bits = place[1]
    if record.is_bool:
        truth = _checked(value, 0, 1, path, "a truth value")
        if not truth or not _integer(
            buffer, place
        ):  # another member of a union may have stored a true value that is not 1
            _store(buffer, place, truth)
        return
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if record.signed else (0, (1 << bits) - 1)
    what = f"a bit field of {bits} bits" if bits != 8 * record.size else f"'{record.name}'"
    _store(buffer, place, _checked(value, low, high, path, what))


def _encode_enum(record: Enum, value: Any, buffer: bytearray, place: Place, path: str) -> None:
    if isinstance(value, str):
        for entry in record.values:
            if entry.name == value:
                value = entry.value
                break
        else:
            names = ", ".join(f"'{entry.name}'" for entry in record.values[:8])
            raise MapTypeError(f"'{path}' has no enumerator '{value}'", hint=f"known are {names}" if names else None)
    bits = place[1]
    signed = record.signed
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    _store(
        buffer, place, _checked(value, low, high, path, f"'enum {record.name}'" if record.name else "an enumeration")
    )


def _encode_array(btf: Btf, array: Array, value: Any, buffer: bytearray, at: int, path: str, level: int) -> None:
    element = btf[btf.resolve(array.element)]
    if (_is_byte(element) or _is_text(element)) and isinstance(value, str | bytes | bytearray | memoryview):
        raw = value.encode() if isinstance(value, str) else bytes(value)
        if len(raw) > array.count:
            raise MapTypeError(f"'{path}' has room for {array.count} bytes, not for {len(raw)}")
        first, last = _span(buffer, at, at + len(raw))
        buffer[first:last] = raw
        return
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        _refuse(path, value, f"a list of up to {array.count}")
    items = list(value)
    if len(items) > array.count:
        raise MapTypeError(f"'{path}' has room for {array.count} elements, not for {len(items)}")
    size = btf.size_of(array.element) if items else 0
    for i, item in enumerate(items):
        _encode(btf, array.element, item, buffer, ((at + i * size) * 8, size * 8), f"{path}[{i}]", level + 1)


def _mapping(value: Any, path: str, btf: Btf, type_id: int) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(path, value, f"a dict of the members of '{type_name(btf, type_id)}'")
    return value


def _names(btf: Btf, composite: Composite, level: int) -> set[str]:
    """Member names, those of anonymous members included."""
    found: set[str] = set()
    for member in composite.members:
        inner = btf[btf.resolve(member.type_id)]
        if member.name:
            found.add(member.name)
        elif isinstance(inner, Composite):
            _settled(btf, member.type_id, level + 1)
            found |= _names(btf, inner, level + 1)
    return found


def _unknown(path: str, given: Iterable[str], known: Iterable[str]) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            raise MapTypeError(
                f"'{path}' has no member '{name}'", hint="known are " + ", ".join(f"'{n}'" for n in sorted(names)[:12])
            )


def _encode_members(
    btf: Btf, composite: Composite, value: Mapping[str, Any], buffer: bytearray, at: int, path: str, level: int
) -> None:
    _unknown(path, value, _names(btf, composite, level))
    for member in composite.members:
        start = at * 8 + member.bit_offset
        if member.name in value:
            width = member.bit_size or 8 * btf.size_of(member.type_id)
            _encode(btf, member.type_id, value[member.name], buffer, (start, width), f"{path}.{member.name}", level + 1)
        elif not member.name:
            _encode_anonymous(btf, member, value, buffer, start // 8, path, level)


def _encode_anonymous(
    btf: Btf, member: Member, value: Mapping[str, Any], buffer: bytearray, at: int, path: str, level: int
) -> None:
    inner = btf[btf.resolve(member.type_id)]
    if isinstance(inner, Composite):
        names = _names(btf, inner, level + 1)
        part = {name: each for name, each in value.items() if name in names}
        _encode_members(btf, inner, part, buffer, at, path, level + 1)


def _encode_section(
    btf: Btf, section: DataSec, value: Mapping[str, Any], buffer: bytearray, at: int, level: int
) -> None:
    rows = {btf[row.type_id].name: row for row in section.variables}
    _unknown(section.name, value, rows)
    for name, each in value.items():
        row = rows[name]
        place = ((at + row.offset) * 8, 8 * btf.size_of(row.type_id))
        _encode(btf, row.type_id, each, buffer, place, name, level + 1)
