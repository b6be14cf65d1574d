"""Blueprints: what an object file says, before any engine has touched it.

The same file gives the same spec on every machine. Nothing here knows a kernel: maps, kfuncs and kernel types are referred to by
name, and CO-RE relocations are kept as data. An engine turns a spec into live objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import MapFlag, MapType, Pinning
from bpfcrypto.abi.progs import AttachType, ProgFlag, ProgType

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.isa.insn import Insn


@dataclass(frozen=True, slots=True)
class MapRef:
    """An ``lddw`` that takes the address of a map (BPF_PSEUDO_MAP_FD)."""

    name: str


@dataclass(frozen=True, slots=True)
class MapValueRef:
    """An ``lddw`` that takes an address inside the value 0 of a data-section map (BPF_PSEUDO_MAP_VALUE)."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class KfuncRef:
    """A call of a kfunc, or an ``lddw`` of its address (which is 0 where a weak kfunc is absent)."""

    name: str
    weak: bool = False


Ref = MapRef | MapValueRef | KfuncRef

EXCEPTION_CALLBACK = "exception_callback:"
"""A program's decl tag that begins like this names the subprogram that bpf_throw ends with."""


@dataclass(frozen=True, slots=True)
class FuncInfo:
    """Where a subprogram starts: entry 0 is the program itself.

    Attributes:
        index: its first instruction slot within the program.
        name: its symbol.
        type_id: its BTF_KIND_FUNC id in the collection's BTF, 0 where the object has none.
        is_global: whether it is a global function, which the verifier proves on its own.
    """

    index: int
    name: str
    type_id: int = 0
    is_global: bool = False


@dataclass(frozen=True, slots=True)
class LineInfo:
    """The source line that starts at an instruction slot."""

    index: int
    file: str
    line: int
    column: int
    text: str


class CoreKind(IntEnum):
    """enum bpf_core_relo_kind."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


@dataclass(frozen=True, slots=True)
class CoreReloc:
    """One CO-RE relocation (struct bpf_core_relo): what to look up in the target's BTF, and the instruction to patch.

    Attributes:
        index: instruction slot within the program.
        kind: what is asked.
        type_id: the root type in the collection's BTF.
        access: the access string, such as ``0:1:2``.
    """

    index: int
    kind: CoreKind
    type_id: int
    access: str


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """One program with its subprograms linked in behind it.

    Attributes:
        name: the function's name.
        section: the ELF section as written, with its ``?`` if any.
        type: program type.
        attach_type: expected attach type, where the section names one.
        flags: BPF_PROG_LOAD flags that the section implies.
        autoload: False for ``?`` sections.
        insns: all instructions; the index is the slot.
        refs: what an instruction slot refers to, where it is not plain code.
        funcs: subprograms in order of their start; the first one is the program.
        lines: source lines in order of their start.
        core: CO-RE relocations, not yet applied.
        tags: decl tags of the function, in order.
    """

    name: str
    section: str
    type: ProgType
    insns: tuple[Insn, ...]
    attach_type: AttachType | None = None
    flags: ProgFlag = ProgFlag(0)
    autoload: bool = True
    refs: Mapping[int, Ref] = field(default_factory=dict)
    funcs: tuple[FuncInfo, ...] = ()
    lines: tuple[LineInfo, ...] = ()
    core: tuple[CoreReloc, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MapSpec:
    """One map, as the object defines it.

    Attributes:
        name: map name; data sections keep theirs (``.bss``).
        type: map type.
        key_size, value_size: bytes.
        max_entries: number of elements (bytes for ring buffers).
        flags: BPF_MAP_CREATE flags.
        key_type, value_type: BTF type ids in the collection's BTF, 0 where none is given.
        map_extra: the type-specific 64-bit extra.
        numa_node: only with MapFlag.NUMA_NODE.
        pinning: whether the map is pinned by its name.
        inner: the template of a map-in-map.
        slots: initial contents of a map-in-map or program array: index -> map or program name.
        data: initial bytes of a data section's value.
        frozen: user space may not write it after loading (``.rodata``).
    """

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: MapFlag = MapFlag(0)
    key_type: int = 0
    value_type: int = 0
    map_extra: int = 0
    numa_node: int = 0
    pinning: Pinning = Pinning.NONE
    inner: MapSpec | None = None
    slots: Mapping[int, str] = field(default_factory=dict)
    data: bytes | None = None
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """A global variable: where it lives, and the BTF type of its value (0 where the object has none)."""

    name: str
    map: str
    offset: int
    size: int
    type_id: int


@dataclass(frozen=True, slots=True)
class KconfigSpec:
    """An ``extern ... __kconfig`` variable.

    Attributes:
        name: ``CONFIG_...`` or ``LINUX_...``.
        offset, size: its bytes in the map ``.kconfig``.
        is_char: whether y, m and n are kept as letters.
        weak: whether a kernel without the value will do.
    """

    name: str
    offset: int
    size: int
    is_char: bool = False
    weak: bool = False


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """Everything an object file defines.

    Attributes:
        source: the file's name, or ``<bytes>``.
        license: the licence string of the ``license`` section, "" where there is none.
        btf: the object's types; None where it carries none.
        programs, maps, variables: by name, in file order.
        kconfig: variables that the kernel's configuration gives a value.
        left_out: sections with programs of types that are not loaded, in file order.
        unfilled: addresses that variables are initialised with, and that nobody fills in: section, offset, what is there.
    """

    source: str
    license: str = ""
    btf: Btf | None = None
    programs: Mapping[str, ProgramSpec] = field(default_factory=dict)
    maps: Mapping[str, MapSpec] = field(default_factory=dict)
    variables: Mapping[str, VariableSpec] = field(default_factory=dict)
    kconfig: tuple[KconfigSpec, ...] = ()
    left_out: tuple[str, ...] = ()
    unfilled: tuple[tuple[str, int, str], ...] = ()
