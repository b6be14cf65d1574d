"""``bpfcrypto disasm``."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfcrypto.cli.main import main

OBJECT = Path(__file__).parents[2] / "examples/crypto_packets.bpf.o"


def disassembly(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["disasm", str(OBJECT), *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_names_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Maps, variables, helpers, kfuncs and subprograms have their names; source lines stand before their instructions."""
    lines = disassembly(capsys, "--program", "encrypt")

    text = "\n".join(lines)
    assert lines[0].startswith("encrypt: section 'tc', SCHED_CLS, ")
    assert lines[1] == "encrypt():"
    assert "count():" in lines
    assert "r1 = map[crypto_slots]" in text
    assert "call bpf_map_lookup_elem#1" in text
    assert "call bpf_crypto_encrypt#" in text
    assert " ; count()" in text
    assert any(line.startswith("; ") and " @ crypto_packets.bpf.c:" in line for line in lines)
    assert "setup():" not in lines


def test_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """An address in a data section names the section and the offset."""
    text = "\n".join(disassembly(capsys, "-p", "setup"))

    assert "map[.bss][0]+" in text


def test_every_program(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --program all programs are listed, in the order of the file."""
    heads = [line.split(":")[0] for line in disassembly(capsys) if ": section '" in line]

    assert heads == ["setup", "encrypt", "decrypt", "xdp_encrypt", "xdp_decrypt"]


def test_damaged_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no object is an error that names the file."""
    path = tmp_path / "x.o"
    path.write_bytes(OBJECT.read_bytes()[:1000])

    assert main(["disasm", str(path)]) == 1
    assert f"error: {path}: " in capsys.readouterr().err
