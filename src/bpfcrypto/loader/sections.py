"""Decides what each ELF section is for, by its name and flags.

| section | role |
|---|---|
| a name of ``abi.progs.SECTIONS``, or one that ``OPEN_SECTIONS`` allows, with or without a leading ``?`` | programs |
| a name of ``OTHER_SECTIONS``, alone or with ``/anything`` behind | programs of types that are not loaded: left out |
| ``.text`` | subprograms that programs call |
| ``.maps`` | map definitions |
| ``maps`` | map definitions of the old form |
| ``.data``, ``.rodata``, ``.bss``, and those names with ``.anything`` behind | global variables: one map each |
| ``license`` | the licence string |
| anything else without code | ignored, unless a relocation asks for it |
"""

from __future__ import annotations

import re
from enum import Enum

from bpfcrypto.abi.progs import OPEN_SECTIONS, OTHER_SECTIONS, SECTIONS, SectionKind
from bpfcrypto.errors import ObjectError
from bpfcrypto.loader.elf import ElfObject, Section


class Role(Enum):
    """What a section is for."""

    PROGRAMS = "programs"
    LEFT_OUT = "programs of other types"
    TEXT = "subprograms"
    MAPS = "map definitions"
    DATA = "variables"
    RODATA = "constants"
    BSS = "zeroed variables"
    LICENSE = "licence"
    IGNORED = "nothing that is loaded"


CODE_ROLES = frozenset({Role.PROGRAMS, Role.TEXT})
DATA_ROLES = frozenset({Role.DATA, Role.RODATA, Role.BSS})

_EXACT = {".text": Role.TEXT, ".maps": Role.MAPS, "maps": Role.MAPS, "license": Role.LICENSE}
_FAMILIES = {".data": Role.DATA, ".rodata": Role.RODATA, ".bss": Role.BSS}


_OPEN = re.compile(rf"({'|'.join(map(re.escape, sorted(OPEN_SECTIONS, key=len, reverse=True)))})[/_].+")


def section_kind(name: str) -> SectionKind | None:
    """What a program section's name says, its ``?`` left out of account."""
    plain = name.removeprefix("?")
    if plain in SECTIONS:
        return SECTIONS[plain]
    match = _OPEN.fullmatch(plain)
    return OPEN_SECTIONS[match[1]] if match else None


def roles(elf: ElfObject) -> dict[int, Role]:
    """The role of every section, by index.

    Raises:
        ObjectError: a section with code whose name says nothing, or only programs of types that are not loaded.
    """
    found = {section.index: _role(section, elf.source) for section in elf.sections}
    other = next((index for index, role in found.items() if role is Role.LEFT_OUT), None)
    if other is not None and Role.PROGRAMS not in found.values():
        raise _no_type(elf.sections[other].name, elf.source)
    return found


def _no_type(name: str, source: str) -> ObjectError:
    return ObjectError(
        f"no program type is known for section '{name}'",
        source=source,
        section=name,
        hint="use one of "
        + ", ".join(f"'{known}'" for known in SECTIONS)
        + ", with '?' in front to load it on request",
    )


def _role(section: Section, source: str) -> Role:
    name = section.name
    if section.executable and section.size:
        if name == ".text":
            return Role.TEXT
        if section_kind(name):
            return Role.PROGRAMS
        if name.removeprefix("?").partition("/")[0] in OTHER_SECTIONS:
            return Role.LEFT_OUT
        raise _no_type(name, source)
    family = "." + name.split(".")[1] if name.startswith(".") else name
    role = _EXACT.get(name) or _FAMILIES.get(family, Role.IGNORED)
    if role is Role.BSS and section.type != "SHT_NOBITS":
        return Role.DATA
    return role
