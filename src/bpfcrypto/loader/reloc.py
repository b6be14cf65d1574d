"""Resolves what instructions refer to: maps, variables, kfuncs and other functions.

The compiler leaves a relocation where an instruction needs an address that only the loader knows. What it means depends on the
instruction and on where the symbol is defined:

| instruction | symbol is in | becomes |
|---|---|---|
| ``lddw`` | ``.maps`` | the address of a map |
| ``lddw`` | a data section | an address inside the value of that section's map |
| ``lddw`` | a code section | the address of a function (a callback) |
| ``lddw`` | nowhere (``__ksym`` function) | the address of a kfunc, 0 where a weak one is absent |
| ``call`` | a code section | a call of that function |
| ``call`` | nowhere (``__ksym`` function) | a call of that kfunc |

Static functions and variables are named by their section's symbol and an addend, which stands in the instruction's immediate. A
call within one section needs no relocation: its immediate is already the distance. Types: Documentation/bpf/llvm_reloc.rst.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bpfcrypto.btf.types import Btf, DataSec, Func, Kind, Linkage
from bpfcrypto.errors import RelocationError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL, LDDW, PseudoCall
from bpfcrypto.loader.elf import Bind, ElfObject, Reloc, RelocType, Section, Symbol
from bpfcrypto.loader.functions import SLOT, Body, Place
from bpfcrypto.loader.kconfig import SECTION as KCONFIG
from bpfcrypto.loader.maps import PlacedMap
from bpfcrypto.loader.sections import CODE_ROLES, DATA_ROLES, Role
from bpfcrypto.spec import KfuncRef, MapRef, MapValueRef, Ref

_CODE_TYPES = frozenset({RelocType.R_BPF_64_64, RelocType.R_BPF_64_32})


@dataclass(frozen=True)
class Scope:
    """Everything that a reference can mean within one object."""

    elf: ElfObject
    roles: Mapping[int, Role]
    btf: Btf | None
    maps: Sequence[PlacedMap]
    bodies: Mapping[Place, Body]
    kconfig: Mapping[str, int] = field(default_factory=dict)

    def fail(self, message: str, section: Section, offset: int, hint: str | None = None) -> RelocationError:
        return RelocationError(message, source=self.elf.source, section=section.name, offset=offset, hint=hint)


def references(scope: Scope) -> dict[Place, tuple[dict[int, Ref], dict[int, Place]]]:
    """For every function, what its slots refer to outside the code, and which functions they name.

    Raises:
        RelocationError: a reference that cannot be resolved.
    """
    found: dict[Place, tuple[dict[int, Ref], dict[int, Place]]] = {place: ({}, {}) for place in scope.bodies}
    starts: dict[int, list[int]] = {}
    for index, slot in sorted(scope.bodies):
        starts.setdefault(index, []).append(slot)
    for index, slots in starts.items():
        for reloc in scope.elf.relocs.get(index, ()):
            if reloc.type == RelocType.R_BPF_NONE:
                continue
            body = _owner(scope, index, slots, reloc)
            slot = reloc.offset // SLOT - body.place[1]
            refs, calls = found[body.place]
            target = _target(scope, body, slot, reloc)
            if isinstance(target, tuple):
                calls[slot] = target
            else:
                refs[slot] = target
    for place, body in scope.bodies.items():
        refs, calls = found[place]
        for slot, insn in enumerate(body.insns):
            if insn.code == CALL and insn.src == PseudoCall.BPF and slot not in refs and slot not in calls:
                calls[slot] = _function(
                    scope, body.section, body.section.index, place[1] + slot + insn.imm + 1, (place[1] + slot) * SLOT
                )
    return found


def unfilled(scope: Scope) -> Iterator[tuple[str, int, str]]:
    """Addresses that variables are initialised with: section, offset, what is there. Nobody fills them in: the bytes stay as they are."""
    for index, relocs in scope.elf.relocs.items():
        if scope.roles[index] in DATA_ROLES:
            for reloc in relocs:
                yield scope.elf.sections[index].name, reloc.offset, reloc.symbol.name


def _owner(scope: Scope, index: int, starts: list[int], reloc: Reloc) -> Body:
    """The function that a relocation patches."""
    section = scope.elf.sections[index]
    slot, rest = divmod(reloc.offset, SLOT)
    at = bisect_right(starts, slot) - 1
    body = scope.bodies[index, starts[at]] if at >= 0 else None
    if rest or body is None or slot >= body.place[1] + len(body.insns):
        raise scope.fail("a relocation that is not at an instruction of a function", section, reloc.offset)
    if reloc.type not in _CODE_TYPES:
        raise scope.fail(
            f"relocation type {reloc.type} at an instruction", section, reloc.offset, "compile with clang 14 or later"
        )
    return body


def _target(scope: Scope, body: Body, slot: int, reloc: Reloc) -> Ref | Place:
    insn, symbol = body.insns[slot], reloc.symbol
    is_call = insn.code == CALL and insn.src == PseudoCall.BPF
    if not is_call and (insn.code != LDDW or insn.src):
        raise scope.fail(
            f"'{symbol.name}' is used by an instruction with opcode {insn.code:#04x}, which takes no address",
            body.section,
            reloc.offset,
        )
    if symbol.undefined:
        return _extern(scope, symbol, body.section, reloc.offset)
    role = scope.roles.get(symbol.section)
    if role in CODE_ROLES:
        return _code(scope, body, insn, reloc, is_call)
    if is_call:
        raise scope.fail(f"a call of '{symbol.name}', which is not a function", body.section, reloc.offset)
    if role is Role.MAPS:
        return _map(scope, body.section, symbol, insn, reloc.offset)
    if role in DATA_ROLES:
        return _variable(scope, body.section, symbol, insn, reloc.offset)
    where = scope.elf.sections[symbol.section].name if role else f"index {symbol.section}"
    raise scope.fail(
        f"'{symbol.name}' is in section '{where}', which is not loaded",
        body.section,
        reloc.offset,
        "put variables into '.data', '.rodata' or '.bss', or into sections whose names start so",
    )


def _code(scope: Scope, body: Body, insn: Insn, reloc: Reloc, is_call: bool) -> Place:
    symbol = reloc.symbol
    at = symbol.value + ((insn.imm + 1) * SLOT if is_call else insn.imm)
    if at % SLOT:
        raise scope.fail(
            f"'{symbol.name}' plus {insn.imm} is not the start of an instruction", body.section, reloc.offset
        )
    return _function(scope, body.section, symbol.section, at // SLOT, reloc.offset)


def _function(scope: Scope, section: Section, target: int, slot: int, offset: int) -> Place:
    if (target, slot) not in scope.bodies:
        name = scope.elf.sections[target].name
        raise scope.fail(f"a reference to slot {slot} of section '{name}', where no function starts", section, offset)
    return target, slot


def _map(scope: Scope, section: Section, symbol: Symbol, insn: Insn, offset: int) -> MapRef:
    place = symbol.value + insn.imm
    for known in scope.maps:
        if (known.section, known.offset) == (symbol.section, place):
            return MapRef(known.spec.name)
    home = scope.elf.sections[symbol.section].name
    raise scope.fail(f"a reference to offset {place:#x} of '{home}', where no map starts", section, offset)


def _variable(scope: Scope, section: Section, symbol: Symbol, insn: Insn, offset: int) -> MapValueRef:
    target = scope.elf.sections[symbol.section]
    place = symbol.value + insn.imm
    if not 0 <= place <= target.size:
        raise scope.fail(
            f"a reference to offset {place:#x} of '{target.name}', which has {target.size:#x} bytes", section, offset
        )
    return MapValueRef(target.name, place)


def _extern(scope: Scope, symbol: Symbol, section: Section, offset: int) -> KfuncRef | MapValueRef:
    """A symbol that the object does not define: a function in ``.ksyms``, or a value of the kernel's configuration."""
    if symbol.name in scope.kconfig:
        return MapValueRef(KCONFIG, scope.kconfig[symbol.name])
    home = _extern_section(scope.btf, symbol.name)
    if home is None:
        raise scope.fail(
            f"'{symbol.name}' is not defined in this object",
            section,
            offset,
            "declare kernel functions as 'extern ... __ksym', and compile with -g",
        )
    name, is_function = home
    if name == ".ksyms" and is_function:
        return KfuncRef(symbol.name, weak=symbol.bind == Bind.WEAK)
    raise scope.fail(
        f"'{symbol.name}' is a kernel variable, which cannot be resolved",
        section,
        offset,
        "pass the value in a global variable of the object",
    )


def _extern_section(btf: Btf | None, name: str) -> tuple[str, bool] | None:
    """The DATASEC that lists an extern, and whether it is a function."""
    if btf is None:
        return None
    for section in (".ksyms", KCONFIG):
        found = btf.find(section, Kind.DATASEC)
        record = btf[found] if found is not None else None
        if isinstance(record, DataSec):
            for entry in record.variables:
                listed = btf[entry.type_id]
                if listed.name == name:
                    return section, isinstance(listed, Func) and listed.linkage is Linkage.EXTERN
    return None
