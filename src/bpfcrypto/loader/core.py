"""Applies CO-RE relocations: fits a program to the types of the target it is about to run on.

For each relocation, every type of the target with the same essential name is a candidate; those in which the access exists must
agree on the answer. The answer goes into the instruction: the immediate of an ALU instruction or an ``lddw``, the offset (and the
width) of a load or store. Where the target does not have what is asked, a question of existence or type is answered with 0, and any
other instruction is replaced by a call of a helper that does not exist. A program that asks before it accesses never reaches that
call; in one that does not, the verifier names it.

Source: bpf_core_calc_relo_insn and bpf_core_patch_insn in tools/lib/bpf/relo_core.c, which the kernel shares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bpfcrypto.btf.compat import essential_name, same_kind
from bpfcrypto.btf.types import Array, Btf, Enum, Int, Kind, Member, Ref
from bpfcrypto.errors import RelocationError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL, LDDW, SIZES, Class
from bpfcrypto.loader.access import ENUMVALS, FIELDS, Access, match_access, parse_access
from bpfcrypto.spec import CoreKind, CoreReloc, ProgramSpec

POISON = Insn(CALL, imm=195896080)  # 0xbad2310, the helper number that libbpf uses: the log shows what happened
_SIZE_MASK, _CLASS_MASK, _SOURCE_X = 0x18, 0x07, 0x08
_LARGEST_OFFSET = 0x7FFF
_EXISTENCE = frozenset({CoreKind.FIELD_EXISTS, CoreKind.TYPE_EXISTS, CoreKind.TYPE_MATCHES, CoreKind.ENUMVAL_EXISTS})
_ZERO_WITHOUT = _EXISTENCE | {CoreKind.TYPE_ID_TARGET, CoreKind.TYPE_SIZE}
_MEMORY = frozenset({Class.LDX, Class.ST, Class.STX})


@dataclass(frozen=True, slots=True)
class Answer:
    """What one side says: the value; for a byte offset, size and type of the field; whether code can be checked for it."""

    value: int
    size: int = 0
    type_id: int = 0
    certain: bool = True


def apply_core(program: ProgramSpec, btf: Btf, target: Btf) -> tuple[Insn, ...]:
    """The program's instructions, fitted to the target.

    Args:
        program: as the loader gives it.
        btf: the object's types, to which the relocations refer.
        target: the types to run on: a kernel's, or the embedded engine's.

    Raises:
        RelocationError: a relocation that contradicts the object's types or code, or whose candidates disagree.
        BtfError: a damaged table of types.
    """
    insns = list(program.insns)
    candidates: dict[int, tuple[int, ...]] = {}
    for reloc in program.core:
        try:
            _apply(insns, reloc, btf, target, candidates)
        except ValueError as error:
            raise RelocationError(
                f"program '{program.name}': CO-RE relocation {reloc.kind.name} of instruction {reloc.index}, "
                f"{_describe(btf, reloc)}: {error}",
                section=program.section,
                offset=reloc.index * 8,
                hint="recompile the object",
            ) from error
    return tuple(insns)


def _describe(btf: Btf, reloc: CoreReloc) -> str:
    return f"type '{btf[reloc.type_id].name}', access '{reloc.access}'"


def _apply(insns: list[Insn], reloc: CoreReloc, btf: Btf, target: Btf, candidates: dict[int, tuple[int, ...]]) -> None:
    if reloc.index >= len(insns):
        raise ValueError("there is no such instruction")
    if reloc.kind is CoreKind.TYPE_ID_LOCAL:
        _patch(insns, reloc.index, Answer(0, certain=False), Answer(reloc.type_id), False)
        return
    local = parse_access(btf, reloc.kind, reloc.type_id, reloc.access)
    if reloc.type_id not in candidates:
        candidates[reloc.type_id] = _candidates(btf, reloc.type_id, target)
    found = _find(local, reloc.kind, target, candidates[reloc.type_id])
    mine = _answer(reloc.kind, local)
    if found is None:
        if reloc.kind in _ZERO_WITHOUT:
            _patch(insns, reloc.index, mine, Answer(0), False)
        else:
            _poison(insns, reloc.index)
        return
    theirs = _answer(reloc.kind, found)
    _patch(insns, reloc.index, mine, theirs, _misfit(btf, mine, target, theirs))


def _candidates(btf: Btf, type_id: int, target: Btf) -> tuple[int, ...]:
    record = btf[type_id]
    if not record.name:
        raise ValueError("a type without a name")
    name = essential_name(record.name)
    return tuple(
        other
        for other in target.flavours(name)
        if same_kind(target[other], record) and essential_name(target[other].name) == name
    )


def _find(local: Access, kind: CoreKind, target: Btf, candidates: tuple[int, ...]) -> Access | None:
    """The access in the first candidate that has it; all that have it must give one answer."""
    chosen: Access | None = None
    for candidate in candidates:
        access = match_access(local, kind, target, candidate)
        if access is None:
            continue
        if chosen is None:
            chosen = access
        elif access.bit_offset != chosen.bit_offset or _answer(kind, access).value != _answer(kind, chosen).value:
            raise ValueError(f"the target's types {chosen.root} and {candidate} give different answers")
    return chosen


def _answer(kind: CoreKind, access: Access) -> Answer:
    if kind in _EXISTENCE:
        return Answer(1)
    if kind in FIELDS:
        return _field_answer(kind, access)
    if kind in ENUMVALS:
        step = access.steps[0]
        record = access.btf[step.type_id]
        assert isinstance(record, Enum)
        return Answer(record.values[step.index].value)
    if kind is CoreKind.TYPE_SIZE:
        return Answer(access.btf.size_of(access.root))
    return Answer(access.root, certain=False)  # ids change when objects are linked


def _field_answer(kind: CoreKind, access: Access) -> Answer:
    member = access.member
    if member is None:
        type_id = access.steps[-1].type_id
        size = access.btf.size_of(type_id)
        if kind is CoreKind.FIELD_BYTE_OFFSET:
            return Answer(access.bit_offset // 8, size, type_id)
        if kind is CoreKind.FIELD_BYTE_SIZE:
            return Answer(size)
        raise ValueError("only offset and size can be asked of an array element")
    type_id = access.btf.resolve(member.type_id)
    if kind is CoreKind.FIELD_SIGNED:
        record = access.btf[type_id]
        return Answer(int(isinstance(record, Int | Enum) and record.signed))
    first, size, bits = _storage(access, member, type_id)
    certain = not member.bit_size  # compilers differ in how they load bit fields
    match kind:
        case CoreKind.FIELD_BYTE_OFFSET:
            width, of = (0, 0) if member.bit_size else _element(access.btf, type_id)
            return Answer(first, width, of, certain)
        case CoreKind.FIELD_BYTE_SIZE:
            return Answer(size, certain=certain)
        case CoreKind.FIELD_LSHIFT_U64:
            return Answer(64 - (access.bit_offset + bits - first * 8), certain=certain)
        case _:
            return Answer(64 - bits)


def _storage(access: Access, member: Member, type_id: int) -> tuple[int, int, int]:
    """First byte and bytes of the load that covers a field, and the field's bits."""
    size = access.btf.size_of(type_id)
    if not member.bit_size:
        return access.bit_offset // 8, size, 8 * size
    end = access.bit_offset + member.bit_size
    if size == 0:
        raise ValueError("a bit field of a type without bytes")
    first = access.bit_offset // 8 // size * size
    while end - first * 8 > size * 8:
        if size >= 8:
            raise ValueError("a bit field that no 64-bit load covers")
        size *= 2
        first = access.bit_offset // 8 // size * size
    return first, size, member.bit_size


def _element(btf: Btf, type_id: int) -> tuple[int, int]:
    """Size and type of what a load or store of a field moves: of an array, its elements."""
    for _ in range(32):
        record = btf[type_id]
        if not isinstance(record, Array):
            break
        type_id = btf.resolve(record.element)
    return btf.size_of(type_id), type_id


def _misfit(local: Btf, mine: Answer, target: Btf, theirs: Answer) -> bool:
    """Whether a load or store cannot just change its width: only pointers and unsigned integers survive that."""
    if mine.size == theirs.size:
        return False
    first, second = local[mine.type_id], target[theirs.type_id]
    if isinstance(first, Ref) and isinstance(second, Ref):
        return not first.kind is second.kind is Kind.PTR
    return not (isinstance(first, Int) and isinstance(second, Int) and not first.signed and not second.signed)


def _poison(insns: list[Insn], index: int) -> None:
    if insns[index].code == LDDW:
        insns[index + 1] = POISON
    insns[index] = POISON


def _patch(insns: list[Insn], index: int, mine: Answer, theirs: Answer, misfit: bool) -> None:
    insn = insns[index]
    group = insn.code & _CLASS_MASK
    if insn.code == LDDW:
        upper = insns[index + 1]
        found = insn.imm & 0xFFFFFFFF | (upper.imm & 0xFFFFFFFF) << 32
        if insn.src or insn.off or upper.dst or upper.src or upper.off:
            raise ValueError("the lddw loads an address")
        _expect(mine, found, 64)
        insns[index] = replace(insn, imm=_signed32(theirs.value))
        insns[index + 1] = replace(upper, imm=_signed32(theirs.value >> 32))
    elif group in (Class.ALU, Class.ALU64) and not insn.code & _SOURCE_X:
        _expect(mine, insn.imm, 32)
        insns[index] = replace(insn, imm=_signed32(theirs.value))
    elif group in _MEMORY:
        _expect(mine, insn.off, 32)
        if theirs.value > _LARGEST_OFFSET:
            raise ValueError(f"offset {theirs.value} does not fit a load or store")
        if misfit:
            _poison(insns, index)
            return
        insns[index] = replace(insn, off=theirs.value, code=_resized(insn, mine, theirs))
    else:
        raise ValueError(f"an instruction with opcode {insn.code:#04x} holds no such value")


def _expect(mine: Answer, found: int, bits: int) -> None:
    """The code must hold what the object's own types say, or it is not the code that the relocation was made for."""
    mask = (1 << bits) - 1
    if mine.certain and found & mask != mine.value & mask:
        raise ValueError(f"the instruction holds {found}, the object's types say {mine.value}")


def _resized(insn: Insn, mine: Answer, theirs: Answer) -> int:
    if mine.size == theirs.size:
        return insn.code
    width = next(size for size, bits in SIZES.items() if bits == insn.code & _SIZE_MASK)
    if width != mine.size or theirs.size not in SIZES:
        raise ValueError(f"an access of {width} bytes to a field of {mine.size}, which has {theirs.size} in the target")
    return insn.code & ~_SIZE_MASK | SIZES[theirs.size]


def _signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value
