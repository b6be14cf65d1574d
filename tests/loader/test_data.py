"""loader.data: data sections as maps."""

from __future__ import annotations

import pytest

from bpfcrypto.abi.maps import MapFlag
from bpfcrypto.btf.types import Kind, Linkage, Ref
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import MapSpec, VariableSpec
from support.elfwriter import ALLOC, NOBITS, OBJECT, WRITE, ElfWriter, TypeBuilder


def load(name: str, *linkages: Linkage, kptr: bool = False, size: int = 8) -> tuple[MapSpec, dict[str, VariableSpec]]:
    """A section with one 8-byte variable for each linkage; the first one may be a kptr."""
    elf, types = ElfWriter(), TypeBuilder()
    total = size * len(linkages)
    zero = name.startswith(".bss")
    index = elf.section(
        name, b"" if zero else bytes(total), kind=NOBITS if zero else 1, flags=ALLOC | WRITE, size=total
    )
    target = types.struct("bpf_crypto_ctx", ("n", types.u32, 0), size=4)
    pointer = types.pointer(types.add(Ref(Kind.TYPE_TAG, target, "kptr")))
    rows = []
    for number, linkage in enumerate(linkages):
        elf.symbol(f"v{number}", index, value=8 * number, size=8, kind=OBJECT)
        rows.append((types.variable(f"v{number}", pointer if kptr and not number else types.u64, linkage), 0, 8))
    section = types.section(name, *rows)
    elf.section(".BTF", types.to_bytes(), flags=0)
    spec = load_spec(elf.to_bytes())
    assert spec.maps[name].value_type == section
    return spec.maps[name], dict(spec.variables)


G, S = Linkage.GLOBAL, Linkage.STATIC
RODATA, MMAP, NONE = MapFlag.RDONLY_PROG, MapFlag.MMAPABLE, MapFlag(0)


@pytest.mark.parametrize(
    ("name", "linkages", "kptr", "flags"),
    [
        (".data", (G,), False, MMAP),
        (".data", (S,), False, NONE),
        (".data.x", (S, G), False, MMAP),
        (".bss", (G, S), False, MMAP),
        (".bss.kp", (G,), True, NONE),
        (".bss.kp", (G, G), True, NONE),
        (".rodata", (G,), False, RODATA | MMAP),
        (".rodata", (S,), False, RODATA),
        (".rodata.x", (G,), False, RODATA | MMAP),
    ],
)
def test_flags(name: str, linkages: tuple[Linkage, ...], kptr: bool, flags: MapFlag) -> None:
    """Mapped where a variable is visible and no kptr forbids it; read-only where the section is."""
    found, _ = load(name, *linkages, kptr=kptr)

    assert found.flags == flags
    assert found.frozen is name.startswith(".rodata")
    assert (found.key_size, found.max_entries, found.value_size) == (4, 1, 8 * len(linkages))
    assert found.data == bytes(8 * len(linkages))


def test_variables_are_listed() -> None:
    """By name, with their place; the type is that of the variable, not the record of the variable itself."""
    _, variables = load(".data", G, S)

    assert {v.name: (v.map, v.offset, v.size) for v in variables.values()} == {
        "v0": (".data", 0, 8),
        "v1": (".data", 8, 8),
    }
    assert {v.type_id for v in variables.values()} == {TypeBuilder().u64}


def test_empty_sections() -> None:
    """A section without bytes is no map."""
    elf = ElfWriter()
    elf.section(".data", b"")
    elf.section(".bss", kind=NOBITS)

    assert load_spec(elf.to_bytes()).maps == {}


def test_two_variables_of_one_name() -> None:
    """Static variables of two sections may share a name; the first one keeps it."""
    elf, types = ElfWriter(), TypeBuilder()
    for name in (".data", ".rodata"):
        index = elf.section(name, bytes(8))
        elf.symbol("same", index, size=8, kind=OBJECT, bind=0)
        types.section(name, (types.variable("same", types.u64, S), 0, 8))
    elf.section(".BTF", types.to_bytes(), flags=0)

    assert load_spec(elf.to_bytes()).variables["same"].map == ".data"
