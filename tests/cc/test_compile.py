"""The compiler front: what it finds, what it promises about its output, and how it says no."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bpfcrypto.cc import compile_source, find_compiler, include_dir
from bpfcrypto.errors import CompileError, NotSupportedError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/crypto_packets.bpf.c"

SMALL = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
SEC("tc") int answer(struct __sk_buff *skb) { return ANSWER; }
char _license[] SEC("license") = "GPL";
"""


def write(folder: Path, text: str, name: str = "small.bpf.c") -> Path:
    source = folder / name
    source.write_text(text)
    return source


def test_same_bytes_from_another_checkout(tmp_path: Path) -> None:
    """The object does not depend on where the source lies."""
    copy = tmp_path / "another" / "checkout"
    copy.mkdir(parents=True)
    moved = shutil.copy(EXAMPLE, copy)

    assert compile_source(moved) == EXAMPLE.with_suffix(".o").read_bytes()


def test_no_path_of_this_machine(tmp_path: Path) -> None:
    """Neither the source's folder nor an include folder nor the working directory is in the object."""
    headers = tmp_path / "headers"
    headers.mkdir()
    write(headers, "static inline int twice(struct __sk_buff *skb)\n{\n\treturn 2 * skb->len;\n}\n", "twice.h")
    source = write(tmp_path, SMALL.replace("SEC", '#include "twice.h"\nSEC', 1).replace("ANSWER", "twice(skb)"))

    built = compile_source(source, include_dirs=[headers])

    assert b"headers/twice.h" in built
    assert b"small.bpf.c" in built
    for place in (tmp_path, Path.cwd(), include_dir(), Path.home()):
        assert str(place).encode() not in built


def test_source_lines_are_kept(tmp_path: Path) -> None:
    """BTF holds the text of the lines, so that messages can show them."""
    built = compile_source(write(tmp_path, SMALL.replace("ANSWER", "skb->len + 12345")))

    assert b"return skb->len + 12345;" in built


def test_given_folders_come_first(tmp_path: Path) -> None:
    """A header in a given folder hides ours of the same name; earlier folders hide later ones."""
    for name, value in (("first", 1), ("second", 2)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, f"#define ANSWER {value}\n", "bpf_misc.h")
    source = write(tmp_path, '#include "bpf_misc.h"\n' + SMALL)

    one = compile_source(source, include_dirs=[tmp_path / "first", tmp_path / "second"])
    two = compile_source(source, include_dirs=[tmp_path / "second", tmp_path / "first"])

    assert one == compile_source(source, include_dirs=[tmp_path / "first"])
    assert one != two


def test_output_is_written_only_on_success(tmp_path: Path) -> None:
    """A refused source leaves the former output as it was."""
    output = tmp_path / "out.o"
    output.write_bytes(b"former")

    with pytest.raises(CompileError):
        compile_source(write(tmp_path, "int broken("), output=output)
    assert output.read_bytes() == b"former"

    built = compile_source(write(tmp_path, SMALL.replace("ANSWER", "3")), output=output)
    assert output.read_bytes() == built


def test_refusal_names_place_and_reason(tmp_path: Path) -> None:
    """The first error is the message, with file, line and column; the log has all of it."""
    source = write(tmp_path, SMALL.replace("ANSWER", "no_such_name"))

    with pytest.raises(CompileError, match="use of undeclared identifier 'no_such_name'") as caught:
        compile_source(source)

    assert caught.value.source == f"{source}:4:54"
    assert "no_such_name" in caught.value.log


def test_missing_source(tmp_path: Path) -> None:
    """A source that is not there is the operating system's error, not the compiler's."""
    with pytest.raises(FileNotFoundError):
        compile_source(tmp_path / "absent.bpf.c")


def test_instruction_set(tmp_path: Path) -> None:
    """``cpu`` reaches the compiler: the byte swap of v4 is not the one of v3."""
    source = write(tmp_path, SMALL.replace("ANSWER", "__builtin_bswap32(skb->len)"))

    assert compile_source(source, cpu="v4") != compile_source(source, cpu="v3")


def test_home_folder_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's cache goes to a private folder, also where HOME is absent or read-only, and is gone afterwards."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    assert compile_source(write(tmp_path, SMALL.replace("ANSWER", "3")))
    assert not list(scratch.iterdir())


def test_clang_where_the_wheel_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel a clang on PATH is used; without both, the error says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: "/opt/bin/clang")
    assert find_compiler().command[0] == "/opt/bin/clang"

    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(NotSupportedError, match=r"install bpfcrypto\[cc\]"):
        find_compiler()


def test_clang_builds_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clang of the system compiles the same source, headers included."""
    clang = next(
        (found for name in ("clang", "clang-19", "clang-18", "clang-17") if (found := shutil.which(name))), None
    )
    if (
        clang is None
        or "bpf" not in subprocess.run([clang, "--print-targets"], check=False, capture_output=True, text=True).stdout
    ):
        pytest.skip("no clang with the bpf target on PATH")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: clang)

    assert compile_source(EXAMPLE).startswith(b"\x7fELF")
