"""Gives ``extern ... __kconfig`` variables a place: a read-only map called ``.kconfig``, as if they were constants of the object.

Here they hold what the kernel has that the embedded engine stands for (abi.kconfig), so that a file gives the same blueprint on every
machine; the kernel engine puts in what its kernel says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bpfcrypto.abi import kconfig
from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.btf.types import Array, DataSec, Int, Kind, Var
from bpfcrypto.errors import BtfError
from bpfcrypto.loader.elf import Bind
from bpfcrypto.spec import KconfigSpec, MapSpec

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.loader.elf import ElfObject

SECTION: Final = ".kconfig"
_MOST_BYTES: Final = 4096


def read_kconfig(elf: ElfObject, btf: Btf | None) -> tuple[KconfigSpec, ...]:
    """The variables, each at an offset of its own; the largest come first, so that all are aligned.

    Raises:
        BtfError: a variable without a size.
    """
    type_id = btf.find(SECTION, Kind.DATASEC) if btf is not None else None
    record = btf[type_id] if btf is not None and type_id is not None else None
    if btf is None or not isinstance(record, DataSec):
        return ()
    weak = {symbol.name for symbol in elf.symbols if symbol.undefined and symbol.bind == Bind.WEAK}
    found, offset = [], 0
    listed = [variable for variable in (btf[entry.type_id] for entry in record.variables) if isinstance(variable, Var)]
    try:
        sized = [(btf.size_of(variable.type_id), variable) for variable in listed]
    except BtfError as error:
        error.source = elf.source
        raise
    for size, variable in sized:
        if size > _MOST_BYTES:
            raise BtfError(f"'{variable.name}' has {size} bytes", source=elf.source, section=SECTION)
    for size, variable in sorted(sized, key=lambda each: (-each[0], each[1].name)):
        kind = btf[btf.resolve(variable.type_id)]
        step = 1 if isinstance(kind, Array) else size
        offset = -(-offset // step) * step
        is_char = isinstance(kind, Int) and size == 1 and not kind.is_bool
        found.append(KconfigSpec(variable.name, offset, size, is_char, variable.name in weak))
        offset += size
    return tuple(found)


def kconfig_map(variables: tuple[KconfigSpec, ...]) -> MapSpec:
    """The map with the values of the kernel that the embedded engine stands for.

    Raises:
        BtfError: a variable that is too small for its value.
    """
    size = max(each.offset + each.size for each in variables)
    data = bytearray(size)
    for each in variables:
        value = kconfig.VALUES.get(each.name)
        if value is not None:
            try:
                encoded = kconfig.encode(value, each.size, is_char=each.is_char)
            except ValueError as error:
                raise BtfError(f"'{each.name}': {error}", section=SECTION) from None
            data[each.offset : each.offset + each.size] = encoded
    return MapSpec(SECTION, MapType.ARRAY, 4, size, 1, flags=MapFlag.RDONLY_PROG, data=bytes(data), frozen=True)
