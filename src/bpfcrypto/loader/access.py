"""What a CO-RE relocation points at, in the object's own types and in the target's.

The compiler records an access as a root type and a string such as ``0:1:2``: take the type as an array and its element 0, of that
the member 1, of that the member or element 2. What matters of it are the *named* members and the array indices; anonymous structs
are only a matter of layout, and the target may lay its members out differently. So the string is first read against the object's
types, and the names and indices found are then looked for in the target's, through its own anonymous members.

Source: bpf_core_parse_spec and bpf_core_spec_match in tools/lib/bpf/relo_core.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from bpfcrypto.btf.compat import essential_name, fields_compatible, types_compatible, types_match
from bpfcrypto.btf.types import Array, Btf, Composite, Enum, Member
from bpfcrypto.spec import CoreKind

_DEEPEST = 64

FIELDS = frozenset(
    {
        CoreKind.FIELD_BYTE_OFFSET,
        CoreKind.FIELD_BYTE_SIZE,
        CoreKind.FIELD_EXISTS,
        CoreKind.FIELD_SIGNED,
        CoreKind.FIELD_LSHIFT_U64,
        CoreKind.FIELD_RSHIFT_U64,
    }
)
ENUMVALS = frozenset({CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE})


@dataclass(frozen=True, slots=True)
class Step:
    """One turning point: ``index`` of a member (which has a ``name``), of an array element, or of an enumerator."""

    type_id: int
    index: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """A resolved access: the root type, the way from it, and where it ends in bits from the root's start."""

    btf: Btf
    root: int
    steps: tuple[Step, ...] = ()
    bit_offset: int = 0

    @property
    def member(self) -> Member | None:
        """The member at the end of the way, None where it ends at an array element or at the root."""
        last = self.steps[-1]
        record = self.btf[last.type_id]
        return record.members[last.index] if last.name and isinstance(record, Composite) else None


def parse_access(btf: Btf, kind: CoreKind, root: int, text: str) -> Access:
    """Read an access string against the object's own types.

    Raises:
        ValueError: the string does not fit the types; the text says how.
    """
    parts = text.split(":")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts) or len(parts) > _DEEPEST:
        raise ValueError(f"access '{text}' is no list of numbers")
    indices = [int(part) for part in parts]
    if kind in FIELDS:
        return _parse_field(btf, root, indices)
    if kind not in ENUMVALS:
        if indices != [0]:
            raise ValueError(f"access '{text}' to a whole type")
        return Access(btf, root)
    type_id = btf.resolve(root)
    record = btf[type_id]
    if not isinstance(record, Enum) or len(indices) > 1 or indices[0] >= len(record.values):
        raise ValueError(f"access '{text}' is no enumerator of type {root}")
    return Access(btf, root, (Step(type_id, indices[0], record.values[indices[0]].name),))


def _parse_field(btf: Btf, root: int, indices: list[int]) -> Access:
    type_id = btf.resolve(root)
    steps = [Step(type_id, indices[0])]
    bits = indices[0] * btf.size_of(type_id) * 8
    for index in indices[1:]:
        type_id = btf.resolve(type_id)
        record = btf[type_id]
        if isinstance(record, Composite):
            if index >= len(record.members):
                raise ValueError(f"member {index} of '{record.name}', which has {len(record.members)}")
            member = record.members[index]
            bits += member.bit_offset
            if member.name:
                steps.append(Step(type_id, index, member.name))
            type_id = member.type_id
        elif isinstance(record, Array):
            if index >= record.count and not _is_flexible(btf, steps[-1], record):
                raise ValueError(f"element {index} of an array of {record.count}")
            type_id = btf.resolve(record.element)
            steps.append(Step(type_id, index))
            bits += index * btf.size_of(type_id) * 8
        else:
            raise ValueError(f"a member of type {type_id}, which has none")
    return Access(btf, root, tuple(steps), bits)


def _is_flexible(btf: Btf, before: Step, array: Array) -> bool:
    """Whether an array is the open end of a struct: without elements, and its last member."""
    record = btf[before.type_id]
    return bool(
        before.name and not array.count and isinstance(record, Composite) and before.index == len(record.members) - 1
    )


def match_access(local: Access, kind: CoreKind, target: Btf, root: int) -> Access | None:
    """The same access in a candidate type of the target; None where the candidate does not have it."""
    if kind in FIELDS:
        return _match_field(local, target, root)
    if kind in ENUMVALS:
        return _match_enumerator(local, target, root)
    agree = types_match if kind is CoreKind.TYPE_MATCHES else types_compatible
    return Access(target, root) if agree(local.btf, local.root, target, root) else None


def _match_enumerator(local: Access, target: Btf, root: int) -> Access | None:
    type_id = target.resolve(root)
    record = target[type_id]
    if isinstance(record, Enum):
        wanted = essential_name(local.steps[0].name)
        for index, entry in enumerate(record.values):
            if essential_name(entry.name) == wanted:
                return Access(target, root, (Step(type_id, index, entry.name),))
    return None


def _match_field(local: Access, target: Btf, root: int) -> Access | None:
    type_id = root
    steps: list[Step] = []
    bits = 0
    for step in local.steps:
        type_id = target.resolve(type_id)
        if step.name:
            found = _find_member(local.btf, step, target, type_id, 0)
            if found is None:
                return None
            placed, offset, type_id = found
            steps.append(placed)
            bits += offset
            continue
        if steps:  # the first index counts whole roots; every later one needs an array
            array = target[type_id]
            if not isinstance(array, Array):
                return None
            if step.index >= array.count and not _is_flexible(target, steps[-1], array):
                return None
            type_id = target.resolve(array.element)
        steps.append(Step(type_id, step.index))
        bits += step.index * target.size_of(type_id) * 8
    return Access(target, root, tuple(steps), bits)


def _find_member(local: Btf, step: Step, target: Btf, type_id: int, depth: int) -> tuple[Step, int, int] | None:
    """A member of that name and a compatible type: its step, its offset in bits, and its type."""
    record = target[type_id]
    struct = local[step.type_id]
    if not isinstance(record, Composite) or not isinstance(struct, Composite):
        return None
    if depth > _DEEPEST:
        raise ValueError(f"structs are nested more than {_DEEPEST} deep")
    for index, member in enumerate(record.members):
        if not member.name:
            found = _find_member(local, step, target, target.resolve(member.type_id), depth + 1)
            if found is not None:
                inner, offset, inner_type = found
                return inner, offset + member.bit_offset, inner_type
        elif member.name == step.name:
            wanted = struct.members[step.index].type_id
            if not fields_compatible(local, wanted, target, member.type_id):
                return None
            return Step(type_id, index, member.name), member.bit_offset, member.type_id
    return None
