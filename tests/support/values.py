"""Random Python values of a BTF type, as bpfcrypto.btf.values takes and gives them."""

from __future__ import annotations

import random
from typing import Any

from bpfcrypto.btf.types import Array, Btf, Composite, Enum, Int, Kind, Member, Ref


def random_value(btf: Btf, type_id: int, draw: random.Random, bits: int = 0) -> Any:
    """A value that decodes to itself; of a union only one member, chosen at random.

    Args:
        btf: the table.
        type_id: the type.
        draw: the source of chance; edge values are likely.
        bits: width of a bit field, else 0.
    """
    record = btf[btf.resolve(type_id)]
    match record:
        case Int():
            return bool(draw.getrandbits(1)) if record.is_bool else number(bits or record.bits, record.signed, draw)
        case Enum():
            fitting = [each.name for each in record.values if fits(each.value, bits or 8 * record.size, record.signed)]
            unnamed = number(bits or 8 * record.size, record.signed, draw)
            known = {each.value for each in record.values}
            return draw.choice(fitting) if unnamed in known or draw.getrandbits(1) else unnamed
        case Ref():
            return number(64, False, draw)
        case Array():
            return random_array(btf, record, draw)
        case Composite():
            return random_members(btf, record, draw)
    raise TypeError(record)


def number(bits: int, signed: bool, draw: random.Random) -> int:
    """An integer of that width, often the least or greatest."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return draw.choice((low, high, draw.randint(low, high), draw.randint(low, high)))


def fits(value: int, bits: int, signed: bool) -> bool:
    """Whether a bit field can hold it."""
    return -(1 << bits - 1) <= value < 1 << bits - 1 if signed else 0 <= value < 1 << bits


def random_array(btf: Btf, array: Array, draw: random.Random) -> Any:
    """Text, bytes, or a list of the full length."""
    element = btf[btf.resolve(array.element)]
    if isinstance(element, Int) and element.name == "char":
        return "".join(draw.choices("abcxyz 09", k=draw.randint(0, array.count)))
    if isinstance(element, Int) and element.size == 1 and not element.is_bool:
        return draw.randbytes(array.count)
    return [random_value(btf, array.element, draw) for _ in range(array.count)]


def random_members(btf: Btf, composite: Composite, draw: random.Random) -> dict[str, Any]:
    """All members of a struct, one of a union; those of anonymous ones count as their parent's."""
    members = [each for each in composite.members if not padding(btf, each)]
    if composite.kind is Kind.UNION:
        members = [draw.choice(members)]
    found: dict[str, Any] = {}
    for member in members:
        value = random_value(btf, member.type_id, draw, member.bit_size)
        found |= {member.name: value} if member.name else value
    return found


def padding(btf: Btf, member: Member) -> bool:
    """Whether a member is a nameless bit field."""
    return not member.name and not isinstance(btf[btf.resolve(member.type_id)], Composite)


def agrees(given: Any, found: Any) -> bool:
    """Whether a value came back: what was given is there, whatever else a union shows."""
    if isinstance(given, dict):
        return all(name in found and agrees(each, found[name]) for name, each in given.items())
    if isinstance(given, list):
        return len(given) == len(found) and all(map(agrees, given, found))
    return bool(given == found)
