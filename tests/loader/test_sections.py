"""loader.sections: what a section is for."""

from __future__ import annotations

import pytest

from bpfcrypto.abi.progs import SECTIONS
from bpfcrypto.errors import ObjectError
from bpfcrypto.loader.doubts import doubts
from bpfcrypto.loader.elf import read_elf
from bpfcrypto.loader.load import load_spec
from bpfcrypto.loader.sections import Role, roles
from support.elfwriter import NOBITS, RETURN_1, ElfWriter, program


@pytest.mark.parametrize("name", [*SECTIONS, *("?" + name for name in SECTIONS)])
def test_program_sections(name: str) -> None:
    """Every known name gives a program of its type; with a question mark it is not loaded unless asked for."""
    (found,) = load_spec(program(name).to_bytes()).programs.values()
    kind = SECTIONS[name.removeprefix("?")]

    assert (found.type, found.attach_type, found.flags) == (kind.type, kind.attach_type, kind.flags)
    assert found.section == name
    assert found.autoload is not name.startswith("?")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        (".data", Role.DATA),
        (".data.x", Role.DATA),
        (".rodata", Role.RODATA),
        (".rodata.str1.1", Role.RODATA),
        (".rodata.cst16", Role.RODATA),
        (".database", Role.IGNORED),
        (".maps", Role.MAPS),
        ("maps", Role.MAPS),
        ("license", Role.LICENSE),
        ("version", Role.IGNORED),
        (".BTF", Role.IGNORED),
        (".eh_frame", Role.IGNORED),
        (".debug_info", Role.IGNORED),
        (".llvm_addrsig", Role.IGNORED),
        (".", Role.IGNORED),
    ],
)
def test_other_sections(name: str, role: Role) -> None:
    """Names decide, and what is not needed is left alone."""
    elf = ElfWriter()
    index = elf.section(name, b"abcd")

    assert roles(read_elf(elf.to_bytes(), "x.o"))[index] is role


def test_zeroed_variables() -> None:
    """A .bss without bytes is zeroed; one that has bytes after all keeps them."""
    elf = ElfWriter()
    empty, full = elf.section(".bss.a", kind=NOBITS, size=8), elf.section(".bss.b", b"abcd")
    found = roles(read_elf(elf.to_bytes(), "x.o"))

    assert (found[empty], found[full]) == (Role.BSS, Role.DATA)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("tc/entry", "tc"),
        ("classifier/from_lxc", "classifier"),
        ("action_mirror", "action"),
        ("xdp/tail", "xdp"),
        ("xdp_pass", "xdp"),
        ("xdp.frags/pass", "xdp.frags"),
        ("xdp_devmap/out", "xdp/devmap"),
        ("?xdp_cpumap/in", "xdp/cpumap"),
    ],
)
def test_names_of_ones_own(name: str, like: str) -> None:
    """Behind the stem of a type projects write what they like."""
    (found,) = load_spec(program(name).to_bytes()).programs.values()
    kind = SECTIONS[like]

    assert (found.type, found.attach_type, found.flags) == (kind.type, kind.attach_type, kind.flags)
    assert found.autoload is not name.startswith("?")


@pytest.mark.parametrize("name", ["kprobe/do_exit", "fentry.s/bpf_check", "socket", "?cgroup/dev", "struct_ops/init"])
def test_programs_of_other_types(name: str) -> None:
    """They are left out beside programs that are loaded, and the object says so."""
    elf = program()
    elf.function("other", elf.code(name, RETURN_1))
    spec = load_spec(elf.to_bytes())

    assert list(spec.programs) == ["main"]
    assert spec.left_out == (name,)
    assert doubts(spec) == (f"section '{name}': programs of this type are not loaded",)


@pytest.mark.parametrize(
    "name", ["kprobe/do_exit", "xdp ", "socket", "??xdp", "tcx/other", "xdp/", "kprobes", "syscall/x"]
)
def test_unknown_program_sections(name: str) -> None:
    """Code in a section of an unknown name is refused, as is an object with nothing to load; the hint lists the names."""
    with pytest.raises(ObjectError, match="no program type is known") as caught:
        load_spec(program(name).to_bytes(), "x.o")

    assert caught.value.section == name
    assert caught.value.hint is not None
    assert all(f"'{known}'" in caught.value.hint for known in SECTIONS)


def test_empty_code_sections() -> None:
    """Compilers write an empty .text; sections without code are no programs."""
    elf = program()
    elf.code(".text", [])
    elf.code("kprobe/empty", [])

    assert list(load_spec(elf.to_bytes()).programs) == ["main"]
