"""Cuts code sections into functions and gives each its share of names, source lines and relocations.

A function runs from its symbol's value for its symbol's size. Programs are the functions of program sections that are not static;
every other function is a subprogram, wherever it stands.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bpfcrypto.btf.ext import BtfExt, CoreRecord, FuncRecord, LineRecord
from bpfcrypto.btf.types import Btf, Func, Kind
from bpfcrypto.errors import BtfError, ElfError, ObjectError
from bpfcrypto.isa.codec import decode
from bpfcrypto.isa.insn import Insn
from bpfcrypto.loader.elf import Bind, ElfObject, Section, Symbol, SymbolType
from bpfcrypto.loader.sections import CODE_ROLES, Role
from bpfcrypto.loader.types import is_global
from bpfcrypto.spec import CoreKind, CoreReloc, FuncInfo, LineInfo, Ref

SLOT = 8

Place = tuple[int, int]
"""A function by its section's index and its first slot there."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the object, its slots counted from its own start.

    Attributes:
        place: where it starts.
        section: the section's name.
        info: its name and type; ``index`` is 0.
        is_program: whether it can be loaded on its own.
        insns: its code, as compiled.
        refs: what an instruction refers to outside the code.
        calls: which function an instruction calls or takes the address of.
        lines, core, tags: as in ProgramSpec.
    """

    place: Place
    section: str
    info: FuncInfo
    is_program: bool
    insns: tuple[Insn, ...]
    refs: Mapping[int, Ref]
    calls: Mapping[int, Place]
    lines: tuple[LineInfo, ...] = ()
    core: tuple[CoreReloc, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """A function's symbol and code, before its references are known."""

    section: Section
    symbol: Symbol
    insns: tuple[Insn, ...]

    @property
    def place(self) -> Place:
        return self.section.index, self.symbol.value // SLOT


def bodies(elf: ElfObject, roles: Mapping[int, Role]) -> dict[Place, Body]:
    """Every function, by where it starts, in file order.

    Raises:
        ElfError: a function's symbol does not fit its section, or its bytes are no instructions.
    """
    found: dict[Place, Body] = {}
    for symbol in sorted(elf.symbols, key=lambda symbol: (symbol.section, symbol.value, symbol.bind == Bind.LOCAL)):
        if symbol.type != SymbolType.FUNC or roles.get(symbol.section) not in CODE_ROLES:
            continue
        section = elf.sections[symbol.section]
        body = Body(section, symbol, _code(section, symbol, elf.source))
        found.setdefault(body.place, body)  # of two names for one function, the visible one comes first
    for index, role in roles.items():
        section = elf.sections[index]
        if role is Role.PROGRAMS and not any(place[0] == index for place in found):
            raise ElfError("code without a function's symbol", source=elf.source, section=section.name, offset=0)
    return found


def _code(section: Section, symbol: Symbol, source: str) -> tuple[Insn, ...]:
    start, end = symbol.value, symbol.value + symbol.size
    if start % SLOT or not symbol.size or end > len(section.data):
        raise ElfError(
            f"function '{symbol.name}' at {start:#x}..{end:#x} is no code of a section of {len(section.data):#x} bytes",
            source=source,
            section=section.name,
            offset=start,
        )
    try:
        return decode(section.data[start:end])
    except ObjectError as error:
        raise ElfError(
            f"function '{symbol.name}': {error.message}",
            source=source,
            section=section.name,
            offset=start + (error.offset or 0),
        ) from error


def describe(
    body: Body, btf: Btf | None, ext: BtfExt, refs: Mapping[int, Ref], calls: Mapping[int, Place], source: str
) -> Function:
    """A function with everything known about it.

    Raises:
        BtfError: type information that contradicts the code.
    """
    section, start = body.section.name, body.symbol.value
    type_id = _type_of(body, btf, ext, source)
    in_text = section == ".text"
    return Function(
        place=body.place,
        section=section,
        info=FuncInfo(0, body.symbol.name, type_id, is_global(body.symbol)),
        is_program=not in_text and body.symbol.bind != Bind.LOCAL,
        insns=body.insns,
        refs=refs,
        calls=calls,
        lines=tuple(
            LineInfo((row.offset - start) // SLOT, row.file, row.line, row.column, row.text)
            for row in _share(body, ext.lines.get(section, ()))
        ),
        core=tuple(
            CoreReloc((row.offset - start) // SLOT, _core_kind(row, section, source), row.type_id, row.access)
            for row in _share(body, ext.core.get(section, ()))
        ),
        tags=tuple(tag.name for tag in btf.decl_tags(type_id) if tag.component < 0) if btf and type_id else (),
    )


R = TypeVar("R", FuncRecord, LineRecord, CoreRecord)


def _share(body: Body, rows: Sequence[R]) -> list[R]:
    """The records of a section that fall into one function, in order of their offsets, each on a slot of its own."""
    start, end = body.symbol.value, body.symbol.value + body.symbol.size
    ordered = sorted(rows, key=lambda row: row.offset)
    first = bisect_left(ordered, start, key=lambda row: row.offset)
    last = bisect_left(ordered, end, key=lambda row: row.offset)
    return ordered[first:last]


def _core_kind(row: CoreRecord, section: str, source: str) -> CoreKind:
    try:
        return CoreKind(row.kind)
    except ValueError:
        raise BtfError(
            f"CO-RE relocation of unknown kind {row.kind}", source=source, section=section, offset=row.offset
        ) from None


def _type_of(body: Body, btf: Btf | None, ext: BtfExt, source: str) -> int:
    """The function's BTF_KIND_FUNC id: by func_info, or by name where the object has none for it."""
    if btf is None:
        return 0
    for row in ext.funcs.get(body.section.name, ()):
        if row.offset == body.symbol.value:
            if not isinstance(btf[row.type_id], Func):
                raise BtfError(
                    f"func_info gives function '{body.symbol.name}' type {row.type_id}, which is not a function",
                    source=source,
                    section=body.section.name,
                    offset=row.offset,
                )
            return row.type_id
    return btf.find(body.symbol.name, Kind.FUNC) or 0
