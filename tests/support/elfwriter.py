"""Builds ELF objects and BTF piece by piece, so that a broken one is one changed argument."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from bpfcrypto.btf.types import Array, Composite, DataSec, Int, Kind, Linkage, Member, Ref, SecVar, Var
from bpfcrypto.btf.writer import BtfWriter
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.insn import Insn

PROGBITS, SYMTAB, STRTAB, RELA, NOBITS, REL = 1, 2, 3, 4, 8, 9
WRITE, ALLOC, EXEC = 1, 2, 4
LOCAL, GLOBAL, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNC, SECTION = 0, 1, 2, 3
HIDDEN = 2
R_64_64, R_ABS64, R_ABS32, R_NODYLD32, R_64_32 = 1, 2, 3, 4, 10

RETURN_1 = (Insn(0xB7, imm=1), Insn(0x95))


@dataclass
class _Section:
    name: str
    data: bytes
    type: int
    flags: int
    size: int
    link: int = 0
    info: int = 0
    entry: int = 0


@dataclass
class ElfWriter:
    """An object in the making. The header's fields are attributes, for tests that break them."""

    magic: bytes = b"\x7fELF"
    bits: int = 2
    order: int = 1
    kind: int = 1
    machine: int = 247
    sections: list[_Section] = field(default_factory=list)
    symbols: list[bytes] = field(default_factory=lambda: [bytes(24)])
    strings: bytearray = field(default_factory=lambda: bytearray(b"\0"))
    relocs: dict[int, list[bytes]] = field(default_factory=dict)

    def section(
        self, name: str, data: bytes = b"", *, kind: int = PROGBITS, flags: int = ALLOC, size: int | None = None
    ) -> int:
        """Append a section.

        Returns:
            Its index.
        """
        entry = {REL: 16, RELA: 24}.get(kind, 0)
        self.sections.append(_Section(name, data, kind, flags, len(data) if size is None else size, entry=entry))
        return len(self.sections)

    def code(self, name: str, insns: tuple[Insn, ...] | list[Insn]) -> int:
        return self.section(name, encode(insns), flags=ALLOC | EXEC)

    def symbol(
        self,
        name: str,
        section: int = 0,
        *,
        value: int = 0,
        size: int = 0,
        kind: int = NOTYPE,
        bind: int = GLOBAL,
        visibility: int = 0,
    ) -> int:
        """Append a symbol.

        Returns:
            Its index.
        """
        self.symbols.append(
            struct.pack("<IBBHQQ", self._string(name), bind << 4 | kind, visibility, section, value, size)
        )
        return len(self.symbols) - 1

    def function(self, name: str, section: int, *, value: int = 0, size: int = 16, bind: int = GLOBAL) -> int:
        return self.symbol(name, section, value=value, size=size, kind=FUNC, bind=bind)

    def reloc(self, section: int, offset: int, symbol: int, kind: int) -> None:
        self.relocs.setdefault(section, []).append(struct.pack("<QQ", offset, symbol << 32 | kind))

    def _string(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text.encode()) - 1

    def to_bytes(self) -> bytes:
        """The file: header, contents in order, section headers."""
        everything = list(self.sections)
        strings, symbols = len(everything) + 1, len(everything) + 2
        names = bytearray(b"\0")
        for target, rows in self.relocs.items():
            name = ".rel" + everything[target - 1].name
            data = b"".join(rows)
            everything.append(_Section(name, data, REL, 0, len(data), symbols, target, 16))
        symtab = b"".join(self.symbols)
        everything[len(self.sections) : len(self.sections)] = [
            _Section(".strtab", b"", STRTAB, 0, 0),
            _Section(".symtab", symtab, SYMTAB, 0, len(symtab), strings, 0, 24),
        ]
        offsets = []
        for each in everything:
            offsets.append(len(names))
            names += each.name.encode() + b"\0"
        base = len(self.strings)
        table = bytes(self.strings) + bytes(names)
        everything[strings - 1].data, everything[strings - 1].size = table, len(table)
        body, headers = bytearray(), [bytes(64)]
        for each, name in zip(everything, offsets, strict=True):
            body += bytes(-len(body) % 8)
            headers.append(
                struct.pack(
                    "<IIQQQQIIQQ",
                    base + name,
                    each.type,
                    each.flags,
                    0,
                    64 + len(body),
                    each.size,
                    each.link,
                    each.info,
                    8,
                    each.entry,
                )
            )
            body += each.data
        body += bytes(-len(body) % 8)
        header = struct.pack(
            "<4sBBBB8xHHIQQQIHHHHHH",
            self.magic,
            self.bits,
            self.order,
            1,
            0,
            self.kind,
            self.machine,
            1,
            0,
            0,
            64 + len(body),
            0,
            64,
            0,
            0,
            64,
            len(headers),
            strings,
        )
        return header + bytes(body) + b"".join(headers)


def program(section: str = "xdp", insns: tuple[Insn, ...] | list[Insn] = RETURN_1, name: str = "main") -> ElfWriter:
    """An object of one program; its section has index 1."""
    elf = ElfWriter()
    elf.code(section, insns)
    elf.function(name, 1, size=8 * len(insns))
    return elf


class TypeBuilder(BtfWriter):
    """A BTF table with the types that most tests need, and map definitions as C macros make them."""

    def __init__(self) -> None:
        super().__init__()
        self.int = self.add(Int("int", 4, 32, signed=True))
        self.u8 = self.add(Int("unsigned char", 1, 8))
        self.u32 = self.add(Int("unsigned int", 4, 32))
        self.u64 = self.add(Int("unsigned long long", 8, 64))
        self.char = self.add(Int("char", 1, 8, signed=True))

    def pointer(self, target: int) -> int:
        return self.add(Ref(Kind.PTR, target))

    def array(self, element: int, count: int) -> int:
        return self.add(Array(element, self.u32, count))

    def struct(self, name: str, *members: tuple[str, int, int], size: int) -> int:
        """A struct of (name, type id, offset in bytes)."""
        return self.add(Composite(Kind.STRUCT, name, size, tuple(Member(n, t, 8 * at) for n, t, at in members)))

    def number(self, value: int) -> int:
        """The type of a ``__uint`` member."""
        return self.pointer(self.array(self.int, value))

    def definition(self, **members: int) -> int:
        """The struct of a map definition, from member types."""
        rows = tuple((name, type_id, 8 * index) for index, (name, type_id) in enumerate(members.items()))
        return self.struct("", *rows, size=8 * len(rows))

    def variable(self, name: str, type_id: int, linkage: Linkage = Linkage.GLOBAL) -> int:
        return self.add(Var(name, type_id, linkage))

    def section(self, name: str, *rows: tuple[int, int, int], size: int = 0) -> int:
        """A DATASEC of (variable id, offset, size)."""
        return self.add(DataSec(name, size, tuple(SecVar(*row) for row in rows)))


def with_map(**members: int | None) -> tuple[ElfWriter, TypeBuilder]:
    """A program and one map ``m``: an ARRAY of one u64, with ``__uint`` members changed, added or (by None) taken away."""
    types = TypeBuilder()
    wanted: dict[str, int | None] = {"type": 2, "max_entries": 1, "key_size": 4, "value_size": 8} | members
    definition = types.definition(**{k: types.number(v) for k, v in wanted.items() if v is not None})
    elf = program()
    place_map(elf, types, definition)
    return elf, types


def place_map(elf: ElfWriter, types: TypeBuilder, definition: int, name: str = "m", size: int = 64) -> None:
    """Put a map definition into ``.maps`` and the types into ``.BTF``."""
    index = elf.section(".maps", bytes(size), flags=ALLOC | WRITE)
    elf.symbol(name, index, size=size, kind=OBJECT)
    types.section(".maps", (types.variable(name, definition), 0, size))
    elf.section(".BTF", types.to_bytes(), flags=0)
