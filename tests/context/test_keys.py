"""Keys leave no trace: not in memory, nor in maps, variables, logs, messages and files. A process is watched from outside."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import key_holder
from support.context_maps import SOURCE
from support.need import skip_or_fail

CHUNK = 1 << 20

LIVING = {("embedded", "machine code"): 2, ("embedded", "interpreter"): 4, ("kernel", ""): 0}
"""How many copies of a key a process may have while its context lives: in the schedules of the
cipher that encrypts, and nowhere else. A schedule begins with the key, and the one for decryption ends with it."""


def copies(pid: int, key: bytes) -> int:
    """How often a process has these bytes in its memory."""
    found = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if place is None or "[vvar" in line or "[vsyscall]" in line:
                continue
            at, end = (int(each, 16) for each in place.groups())
            tail = b""
            while at < end:
                memory.seek(at)
                try:
                    data = memory.read(min(CHUNK, end - at))
                except OSError:  # a page that was never there, such as a guard
                    break
                if not data:
                    break
                found += (tail + data).count(key)
                tail = data[-len(key) + 1 :]
                at += len(data)
    return found


class Holder:
    """The process, and what it has said so far."""

    def __init__(self, engine: str, way: str, built: Path, folder: Path) -> None:
        self.keys: list[bytes] = []
        self.said = ""
        self._errors = (folder / "stderr").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, key_holder.__file__, engine, way, str(built)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
                "BPFCRYPTO_CACHE": str(folder / "cache"),
            },
        )

    def until(self, step: str) -> None:
        """Let it go on to a step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self.said:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("key "):
                self.keys.append(bytes(byte ^ key_holder.DISGUISE for byte in bytes.fromhex(line.split()[1])))
                continue
            self.said += line
            if line.startswith("step "):
                assert line == f"step {step}\n"
                return
        raise AssertionError(self.errors())

    def copies(self) -> list[int]:
        return [copies(self._process.pid, key) for key in self.keys]

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for each in (self._process.stdin, self._process.stdout, self._errors):
            assert each is not None
            each.close()


def forms(key: bytes) -> list[bytes]:
    """A key as it could stand in a text."""
    return [
        key,
        key.hex().encode(),
        key.hex(" ").encode(),
        repr(key)[2:-1].encode(),
        base64.b64encode(key).rstrip(b"="),
        str(list(key))[1:-1].encode(),
    ]


@pytest.mark.parametrize(
    ("engine", "way"),
    [
        ("embedded", "machine code"),
        ("embedded", "interpreter"),
        pytest.param("kernel", "", marks=pytest.mark.kernel),
    ],
)
def test_no_trace_of_a_key(engine: str, way: str, compile_bpf: object, tmp_path: Path) -> None:
    """While a context lives, only the embedded engine's own cipher has its key; when it is gone, nobody has."""
    living = LIVING[engine, way]
    if not Path("/proc/self/mem").exists():
        skip_or_fail("needs /proc/PID/mem")
    if way == "machine code":
        pytest.importorskip("llvmlite")
    built = tmp_path / "maps.bpf.o"
    built.write_bytes(compile_bpf(SOURCE))  # type: ignore[operator]
    holder = Holder(engine, way, built, tmp_path)
    try:
        holder.until("keys")
        assert all(holder.copies()), "the search finds a key that is there"
        holder.until("created")
        first, second, third = holder.copies()
        assert first <= living
        assert (second, third) == (1, 1)
        holder.until("rotated")
        first, second, third = holder.copies()
        assert (first, third) == (0, 1)
        assert second <= living
        holder.until("refused")
        first, second, *refused = holder.copies()
        assert (first, refused) == (0, [0, 0])
        holder.until("released")
        holder.until("closed")
        assert holder.copies() == [0, 0, 0, 0]
        texts = [holder.said.encode(), holder.errors().encode()]
    finally:
        holder.end()
    assert b"a key of 31 bytes was refused" in texts[0]
    assert b"Traceback" in texts[1]
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for key in holder.keys:
        for form in forms(key):
            assert not any(form in text for text in texts)
            assert [path for path, data in files.items() if form in data] == []
