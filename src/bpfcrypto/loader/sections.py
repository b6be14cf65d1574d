"""Decides what each ELF section is for, by its name and flags.

| section | role |
|---|---|
| a name of ``abi.progs.SECTIONS``, with or without a leading ``?`` | programs |
| ``.text`` | subprograms that programs call |
| ``.maps`` | map definitions |
| ``.data``, ``.rodata``, ``.bss``, and those names with ``.anything`` behind | global variables: one map each |
| ``license`` | the licence string |
| anything else without code | ignored, unless a relocation asks for it |
"""

from __future__ import annotations

from enum import Enum

from bpfcrypto.abi.progs import SECTIONS, SectionKind
from bpfcrypto.errors import ObjectError
from bpfcrypto.loader.elf import ElfObject, Section


class Role(Enum):
    """What a section is for."""

    PROGRAMS = "programs"
    TEXT = "subprograms"
    MAPS = "map definitions"
    DATA = "variables"
    RODATA = "constants"
    BSS = "zeroed variables"
    LICENSE = "licence"
    IGNORED = "nothing that is loaded"


CODE_ROLES = frozenset({Role.PROGRAMS, Role.TEXT})
DATA_ROLES = frozenset({Role.DATA, Role.RODATA, Role.BSS})

_EXACT = {".text": Role.TEXT, ".maps": Role.MAPS, "license": Role.LICENSE}
_FAMILIES = {".data": Role.DATA, ".rodata": Role.RODATA, ".bss": Role.BSS}


def section_kind(name: str) -> SectionKind | None:
    """What a program section's name says, its ``?`` left out of account."""
    return SECTIONS.get(name.removeprefix("?"))


def roles(elf: ElfObject) -> dict[int, Role]:
    """The role of every section, by index.

    Raises:
        ObjectError: a section with code whose name says nothing, or one in a form that is no longer loaded.
    """
    return {section.index: _role(section, elf.source) for section in elf.sections}


def _role(section: Section, source: str) -> Role:
    name = section.name
    if section.executable and section.size:
        if name == ".text":
            return Role.TEXT
        if section_kind(name):
            return Role.PROGRAMS
        raise ObjectError(
            f"no program type is known for section '{name}'",
            source=source,
            section=name,
            hint="use one of "
            + ", ".join(f"'{known}'" for known in SECTIONS)
            + ", with '?' in front to load it on request",
        )
    if name == "maps" and section.size:
        raise ObjectError(
            "map definitions of the legacy form (struct bpf_map_def)",
            source=source,
            section=name,
            hint="define maps in section '.maps' with __uint() and __type()",
        )
    family = "." + name.split(".")[1] if name.startswith(".") else name
    role = _EXACT.get(name) or _FAMILIES.get(family, Role.IGNORED)
    if role is Role.BSS and section.type != "SHT_NOBITS":
        return Role.DATA
    return role
