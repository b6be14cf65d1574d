"""``bpfcrypto ctx``, on pinned maps of an object that is not ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.cli.main import main
from bpfcrypto.kernel import btf
from support.ciphers import ecb
from support.context_maps import FRAME, SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bpfcrypto.kernel.collection import KernelCollection
    from bpfcrypto.kernel.engine import KernelEngine

KEY, OTHER = bytes(range(16)), bytes(range(50, 82))


def check_value(key: bytes) -> str:
    return ecb(key, bytes(16))[:3].hex()


@pytest.fixture
def foreign(kernel_engine: KernelEngine, compile_bpf: object, bpf_directory: Path) -> Iterator[KernelCollection]:
    """Somebody's object, its maps pinned."""
    with kernel_engine.load(compile_bpf(SOURCE)) as loaded:  # type: ignore[operator]
        for name, each in loaded.maps.items():
            if name.startswith("m_"):
                each.pin(bpf_directory / name)
        yield loaded


@pytest.fixture
def keys(tmp_path: Path) -> Callable[[bytes], str]:
    """``keys(key)`` is a file of it."""

    def write(key: bytes) -> str:
        path = tmp_path / f"key{len(key)}"
        path.write_bytes(key)
        return str(path)

    return write


def ctx(command: str, pin: Path, slot: str, *more: str) -> int:
    return main(["ctx", command, "--map", str(pin), "--slot", slot, *more])


def checked(capsys: pytest.CaptureFixture[str], pin: Path, slot: str, *more: str) -> list[dict[str, object]]:
    capsys.readouterr()
    code = ctx("check", pin, slot, "--json", *more)
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)["cpus"]
    assert code == (not all(row["context"] for row in rows))
    return rows


@pytest.mark.kernel
def test_a_life(
    foreign: KernelCollection, bpf_directory: Path, keys: Callable[[bytes], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Created, used by a program of the object, rotated, dropped; check tells the truth at each step."""
    pin, use = bpf_directory / "m_array", foreign.programs["use"].run
    field = ("--field", "cctx")
    assert checked(capsys, pin, "1", *field) == [{"cpu": 0, "context": False}]
    assert use(FRAME).retval == 1
    assert ctx("create", pin, "1", *field, "--algo", "ecb(aes)", "--key-file", keys(KEY)) == 0
    assert check_value(KEY) in capsys.readouterr().err
    found = {"cpu": 0, "context": True, "iv_size": 0, "references": 1}
    assert checked(capsys, pin, "1", *field) == [{**found, "check_value": check_value(KEY)}]
    assert use(FRAME).retval == 0
    assert ctx("create", pin, "1", *field, "--algo", "ecb(aes)", "--key-file", keys(OTHER)) == 2
    assert "bpfcrypto ctx rotate" in capsys.readouterr().err
    assert ctx("rotate", pin, "0x1", *field, "--algo", "ecb(aes)", "--key-file", keys(OTHER)) == 0
    assert checked(capsys, pin, "1", *field) == [{**found, "check_value": check_value(OTHER)}]
    assert ctx("check", pin, "1", *field) == 0
    assert check_value(OTHER) in capsys.readouterr().out
    assert ctx("drop", pin, "1", *field) == 0
    assert "dropped the context" in capsys.readouterr().err
    assert ctx("drop", pin, "1", *field) == 0
    assert "there was no context" in capsys.readouterr().err
    assert ctx("rotate", pin, "1", *field, "--algo", "ecb(aes)", "--key-file", keys(KEY)) == 2
    assert checked(capsys, pin, "1", *field) == [{"cpu": 0, "context": False}]
    assert use(FRAME).retval == 1
    assert foreign.variables["failed"].value == 0


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("m_hash", "hex:" + bytes(range(21)).hex()),
        ("m_percpu_array", "0"),
        ("m_percpu_hash", "9"),
        ("m_lru_percpu", "9"),
    ],
)
def test_maps_of_other_types(
    foreign: KernelCollection,
    bpf_directory: Path,
    keys: Callable[[bytes], str],
    capsys: pytest.CaptureFixture[str],
    name: str,
    slot: str,
) -> None:
    """A hash gets the element; in a per-CPU map the context is on every CPU, and check shows each."""
    pin = bpf_directory / name
    cpus = foreign.maps[name].value_bytes // foreign.maps[name].spec.value_size
    options = ("--field", "pairs[1].cctx")
    assert ctx("create", pin, slot, *options, "--algo", "cbc(aes)", "--key-file", keys(KEY)) == 0
    rows = checked(capsys, pin, slot, *options)
    assert [row["cpu"] for row in rows] == list(range(cpus))
    assert {(row["check_value"], row["iv_size"], row["references"]) for row in rows} == {(check_value(KEY), 16, cpus)}
    assert ctx("check", pin, slot, *options) == 0
    assert ("CPU" in capsys.readouterr().out) is (cpus > 1)
    assert ctx("drop", pin, slot, *options) == 0
    assert not any(row["context"] for row in checked(capsys, pin, slot, *options))


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("name", "slot", "options", "code", "words"),
    [
        ("m_array", "1", {"--algo": "ctr(aes)"}, 3, ["algorithm 'ctr(aes)' was refused", "'ecb(aes)', 'cbc(aes)'"]),
        ("m_array", "1", {"--algo": "rot13"}, 3, ["algorithm 'rot13' was refused", "available here"]),
        ("m_array", "1", {"--key-file": "17"}, 2, ["a key of 17 bytes was refused", "takes 16, 24 or 32 bytes here"]),
        ("m_array", "1", {"--key-file": "none"}, 2, ["cannot be read: No such file"]),
        ("m_array", "1", {"--field": "no"}, 2, ["no field 'no' for a crypto context", "it has 'pairs[0].cctx'"]),
        ("m_plain", "0", {}, 2, ["have no field for a crypto context", "__kptr"]),
        ("m_queue", "0", {}, 2, ["is of type QUEUE", "arrays and hashes"]),
        ("m_array", "7", {}, 2, ["has no element of key 07000000"]),
        ("m_array", "x", {}, 2, ["neither an integer nor hex:BYTES"]),
        ("m_array", "hex:00", {}, 2, ["a key has 4 bytes, not 1"]),
        ("none", "0", {}, 2, ["nothing is pinned there"]),
    ],
)
def test_refusals(
    foreign: KernelCollection,
    bpf_directory: Path,
    keys: Callable[[bytes], str],
    capsys: pytest.CaptureFixture[str],
    bpf_fds: Callable[[], dict[str, str]],
    name: str,
    slot: str,
    options: dict[str, str],
    code: int,
    words: list[str],
) -> None:
    """Each says what is wrong and what to do, and leaves nothing behind: no element, no context, no descriptor."""
    files = {"17": keys(bytes(17)), "none": "/nowhere/key"}
    given = {"--field": "cctx", "--algo": "cbc(aes)", "--key-file": keys(KEY), **options}
    given["--key-file"] = files.get(given["--key-file"], given["--key-file"])
    before = bpf_fds()
    assert ctx("create", bpf_directory / name, slot, *(word for pair in given.items() for word in pair)) == code
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert "Traceback" not in said
    assert bpf_fds() == before
    assert checked(capsys, bpf_directory / "m_array", "1", "--field", "cctx") == [{"cpu": 0, "context": False}]


@pytest.mark.kernel
def test_a_refused_key_leaves_no_element(
    foreign: KernelCollection, bpf_directory: Path, keys: Callable[[bytes], str]
) -> None:
    """A hash gets no element for a context that could not be made."""
    options = ("--field", "cctx", "--algo", "cbc(aes)", "--key-file", keys(bytes(17)))
    assert ctx("create", bpf_directory / "m_percpu_hash", "1", *options) == 2
    assert list(foreign.maps["m_percpu_hash"].keys()) == []


@pytest.mark.kernel
def test_without_root(foreign: KernelCollection, bpf_directory: Path, unprivileged: Callable[..., str]) -> None:
    """An ordinary user is told which capability is missing; exit code 3."""
    before = """
import contextlib, io, sys
import bpfcrypto.cli.ctx, bpfcrypto.cli.values, bpfcrypto.context.home
from bpfcrypto.cli.main import main
bpfcrypto.context.home._spec()
"""
    program = """
said = io.StringIO()
with contextlib.redirect_stderr(said):
    code = main(["ctx", "check", "--map", sys.argv[1], "--slot", "0"])
print(code, said.getvalue())
"""
    said = unprivileged(program, str(bpf_directory / "m_array"), before=before)
    assert said.startswith("3 ")
    assert "CAP_BPF" in said
    assert "run as root" in said


@pytest.mark.kernel
def test_without_types_of_the_kernel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A kernel without BTF has no kfuncs that could be named; exit code 3."""
    btf.kernel_btf.cache_clear()
    monkeypatch.setattr(btf, "PATH", str(tmp_path / "vmlinux"))
    try:
        assert main(["ctx", "check", "--map", "/nowhere", "--slot", "0"]) == 3
    finally:
        btf.kernel_btf.cache_clear()
    said = capsys.readouterr().err
    assert "error:" in said
    assert "hint:" in said


@pytest.mark.parametrize("engine", ["embedded", pytest.param("kernel", marks=pytest.mark.kernel)])
def test_algos(capsys: pytest.CaptureFixture[str], engine: str) -> None:
    """What can be had, with the lengths of keys and IVs, found by trying."""
    assert main(["ctx", "algos", "--engine", engine, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    by_name = {each["name"]: each for each in report["algorithms"]}
    sizes = [16, 24, 32]
    assert report["engine"] == engine
    assert by_name["cbc(aes)"] == {"name": "cbc(aes)", "key_sizes": sizes, "iv_size": 16, "refused": None}
    assert by_name["ecb(aes)"] == {"name": "ecb(aes)", "key_sizes": sizes, "iv_size": 0, "refused": None}
    assert by_name["ctr(aes)"]["key_sizes"] == []
    assert main(["ctx", "algos", "--engine", engine, "rot13", "cbc(aes)"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["cipher", "rot13", "cbc(aes)"]
    assert lines[2][1:] == ["16,", "24", "or", "32", "16", "ok"]
