"""Makes maps of data sections, and variables of what their DATASEC lists.

Global variables live in a map of one element, whose value is the section: ``.data``, ``.bss``, ``.rodata`` (which neither programs
nor, once loaded, user space may write), and sections whose names start so. The map's value type is the DATASEC itself. A section
is mapped into user space where a variable in it is visible outside the object, unless a special field forbids it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.btf.record import special_fields
from bpfcrypto.btf.types import Btf, DataSec, Kind, Linkage, Var
from bpfcrypto.loader.elf import ElfObject, Section, SymbolType
from bpfcrypto.loader.sections import DATA_ROLES, Role
from bpfcrypto.spec import MapSpec, VariableSpec


def data_maps(elf: ElfObject, roles: Mapping[int, Role], btf: Btf | None) -> Iterator[tuple[Section, MapSpec]]:
    """The map of each data section that is not empty, in file order."""
    for section in elf.sections:
        role = roles[section.index]
        if role in DATA_ROLES and section.size:
            yield section, _map(section, role, btf)


def _map(section: Section, role: Role, btf: Btf | None) -> MapSpec:
    value_type, record = _datasec(btf, section.name)
    flags = MapFlag.RDONLY_PROG if role is Role.RODATA else MapFlag(0)
    if btf is not None and record is not None and _visible(btf, record) and not special_fields(btf, value_type):
        flags |= MapFlag.MMAPABLE
    return MapSpec(
        name=section.name,
        type=MapType.ARRAY,
        key_size=4,
        value_size=section.size,
        max_entries=1,
        flags=flags,
        value_type=value_type,
        data=section.data or bytes(section.size),
        frozen=role is Role.RODATA,
    )


def _datasec(btf: Btf | None, name: str) -> tuple[int, DataSec | None]:
    type_id = btf.find(name, Kind.DATASEC) if btf is not None else None
    record = btf[type_id] if btf is not None and type_id is not None else None
    return (type_id or 0, record) if isinstance(record, DataSec) else (0, None)


def _visible(btf: Btf, record: DataSec) -> bool:
    variables = (btf[variable.type_id] for variable in record.variables)
    return any(isinstance(variable, Var) and variable.linkage is not Linkage.STATIC for variable in variables)


def variables(elf: ElfObject, sections: list[Section], btf: Btf | None) -> dict[str, VariableSpec]:
    """All global variables by name; of two static ones with one name, the first keeps it."""
    found: dict[str, VariableSpec] = {}
    for section in sections:
        _, record = _datasec(btf, section.name)
        listed = _typed(section, record, btf) if btf is not None and record is not None else _untyped(elf, section)
        for variable in listed:
            found.setdefault(variable.name, variable)
    return found


def _typed(section: Section, record: DataSec, btf: Btf) -> Iterator[VariableSpec]:
    for entry in record.variables:
        variable = btf[entry.type_id]
        if isinstance(variable, Var):
            yield VariableSpec(variable.name, section.name, entry.offset, entry.size, variable.type_id)


def _untyped(elf: ElfObject, section: Section) -> Iterator[VariableSpec]:
    """Without types, the symbols still tell where variables are."""
    inside = [s for s in elf.symbols if s.section == section.index and s.type == SymbolType.OBJECT and s.size]
    for symbol in sorted(inside, key=lambda symbol: symbol.value):
        if symbol.value + symbol.size <= section.size:
            yield VariableSpec(symbol.name, section.name, symbol.value, symbol.size, 0)
