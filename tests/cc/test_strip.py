"""Stripping an object: what goes, what stays, and that any bytes give an object or an ElfError."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.cc import include_dir, strip_debug
from bpfcrypto.errors import ElfError

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
extern int bpf_some_function(int argument) __ksym;
u32 counter, limit = 7;
static __noinline int twice(int x) { return 2 * x + limit; }
SEC("tc") int first(struct __sk_buff *skb) { counter++; return twice(skb->len); }
SEC("xdp") int second(struct xdp_md *xdp) { return bpf_some_function(twice(3)) + counter; }
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def unstripped(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An object as the compiler writes it, with DWARF and unwind tables."""
    folder = tmp_path_factory.mktemp("unstripped")
    (folder / "x.c").write_text(SOURCE)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding", "-mcpu=v3", "-O2", "-g"]
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(folder), "PATH": "/usr/bin:/bin"}
    paths = [f"-I{include_dir()}", "-c", str(folder / "x.c"), "-o", str(folder / "x.o")]
    subprocess.run([*command, *paths], check=True, env=environment, cwd=folder)
    return (folder / "x.o").read_bytes()


def sections(data: bytes) -> dict[str, bytes]:
    return {section.name: section.data() for section in ELFFile(io.BytesIO(data)).iter_sections() if section.name}


def relocations(data: bytes) -> set[tuple[str, int, int, str, int]]:
    """(section, offset, type, symbol name, symbol value) of every relocation of code."""
    elf = ELFFile(io.BytesIO(data))
    symbols = elf.get_section_by_name(".symtab")
    found = set()
    for section in elf.iter_sections("SHT_REL"):
        target = elf.get_section(section["sh_info"])
        if target["sh_flags"] & 4:
            for entry in section.iter_relocations():
                symbol = symbols.get_symbol(entry["r_info_sym"])
                home = symbol["st_shndx"]
                name = symbol.name or elf.get_section(home).name
                found.add((target.name, entry["r_offset"], entry["r_info_type"], name, symbol["st_value"]))
    return found


def test_debug_sections_go(unstripped: bytes) -> None:
    """DWARF, unwind tables and their relocations are dropped, everything that loaders read is unchanged."""
    before, after = sections(unstripped), sections(strip_debug(unstripped))

    assert any(name.startswith(".debug_") for name in before)
    assert ".eh_frame" in before
    assert not any(".debug_" in name or ".eh_frame" in name or name == ".llvm_addrsig" for name in after)
    for name in (".text", "tc", "xdp", "license", ".BTF", ".BTF.ext", ".bss", ".data"):
        assert after[name] == before[name]
    assert len(strip_debug(unstripped)) < len(unstripped) / 2


def test_references_survive_renumbering(unstripped: bytes) -> None:
    """Every relocation of code still means the same symbol at the same value."""
    assert relocations(strip_debug(unstripped)) == relocations(unstripped)
    assert relocations(unstripped)


def test_local_symbols_come_first(unstripped: bytes) -> None:
    """The symbol table's sh_info counts its local symbols, and no file symbol is left."""
    table = ELFFile(io.BytesIO(strip_debug(unstripped))).get_section_by_name(".symtab")
    bindings = [symbol["st_info"]["bind"] for symbol in table.iter_symbols()]

    assert bindings.index("STB_GLOBAL") == table["sh_info"]
    assert all(symbol["st_info"]["type"] != "STT_FILE" for symbol in table.iter_symbols())


def test_stripping_twice_changes_nothing(unstripped: bytes) -> None:
    """A stripped object is a fixed point."""
    once = strip_debug(unstripped)

    assert strip_debug(once) == once


@pytest.mark.parametrize("head", [b"", b"MZ", b"\x7fELF\x01\x01\x01", b"\x7fELF\x02\x02\x01"])
def test_other_files_are_refused(head: bytes) -> None:
    """32-bit, big-endian and foreign files are named as such."""
    with pytest.raises(ElfError, match="not an ELF64 little-endian file"):
        strip_debug(head.ljust(64, b"\0"), source="x.o")


def test_a_section_table_beyond_all_memory() -> None:
    """An offset that no file has is an ElfError."""
    damaged = bytearray((Path(__file__).resolve().parents[1] / "bpf/kfuncs_weak.bpf.o").read_bytes()[:64])
    struct.pack_into("<Q", damaged, 43, 549_755_813_888)
    with pytest.raises(ElfError, match="damaged object file"):
        strip_debug(bytes(damaged))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_give_an_object_or_an_error(data: st.DataObject) -> None:
    """Damage anywhere in a small object gives bytes or an ElfError, nothing else."""
    good = (Path(__file__).resolve().parents[1] / "bpf/kfuncs_weak.bpf.o").read_bytes()
    damaged = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if len(damaged) >= 8:
            at = data.draw(st.integers(0, len(damaged) - 8))
            struct.pack_into("<Q", damaged, at, data.draw(st.integers(0, 2**64 - 1)))

    try:
        stripped = strip_debug(bytes(damaged))
    except ElfError:
        return
    assert stripped.startswith(b"\x7fELF")
