"""``bpfcrypto build``."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfcrypto import load_spec
from bpfcrypto.cli.main import main

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "answer.h"

char _license[] SEC("license") = "GPL";

SEC("xdp")
int answer(struct xdp_md *xdp)
{
	return ANSWER;
}
"""


def test_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The object stands beside its source unless -o says otherwise; -I folders are searched."""
    (tmp_path / "answer.bpf.c").write_text(SOURCE)
    (tmp_path / "include").mkdir()
    (tmp_path / "include/answer.h").write_text("#define ANSWER 42\n")

    arguments = ["build", str(tmp_path / "answer.bpf.c"), "-I", str(tmp_path / "include")]
    codes = main(arguments), main([*arguments, "-o", str(tmp_path / "other.o")])

    built = (tmp_path / "answer.bpf.o").read_bytes()
    out, err = capsys.readouterr()
    assert codes == (0, 0)
    assert list(load_spec(built).programs) == ["answer"]
    assert (tmp_path / "other.o").read_bytes() == built
    assert out == ""
    assert f"{tmp_path / 'other.o'}: {len(built)} bytes" in err


def test_what_the_compiler_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A source with a mistake is exit code 1 with the compiler's words, and writes no object."""
    (tmp_path / "answer.bpf.c").write_text(SOURCE)

    code = main(["build", str(tmp_path / "answer.bpf.c")])

    assert code == 1
    assert "'answer.h' file not found" in capsys.readouterr().err
    assert not (tmp_path / "answer.bpf.o").exists()
