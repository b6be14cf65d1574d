"""Fixtures for all tests: the engines, compiled BPF C, a process without capabilities, and the rule for tests that need a kernel.

A test that is marked ``kernel`` is skipped, with the probe's reason, where bpf(2) is not to be had. With BPFCRYPTO_REQUIRE_KERNEL=1
it fails instead, so that continuous integration cannot pass by skipping.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.cc.compile import compile_source, include_dir
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.probe import unavailable
from support.need import skip_or_fail

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.engine import Engine

CompileBpf = Callable[..., bytes]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kernel") is None or (reason := unavailable()) is None:
        return
    skip_or_fail(f"needs a kernel: {reason}")


@pytest.fixture(scope="session", autouse=True)
def _compiled_code(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is compiled is kept for this session, where it is not said where; never in the user's own folder."""
    os.environ.setdefault("BPFCRYPTO_CACHE", str(tmp_path_factory.mktemp("code")))


@pytest.fixture
def kernel_engine() -> Iterator[KernelEngine]:
    """The kernel engine; the test must be marked ``kernel``."""
    with KernelEngine() as engine:
        yield engine


@pytest.fixture
def embedded_engine() -> Iterator[EmbeddedEngine]:
    """The embedded engine."""
    from bpfcrypto.embedded.engine import EmbeddedEngine

    with EmbeddedEngine() as engine:
        yield engine


@pytest.fixture
def unverified_engine() -> Iterator[EmbeddedEngine]:
    """The embedded engine without its verifier, for what only its interpreter keeps from doing harm."""
    from bpfcrypto.embedded.engine import EmbeddedEngine

    with EmbeddedEngine(verify=False) as engine:
        yield engine


@pytest.fixture(params=["embedded", pytest.param("kernel", marks=pytest.mark.kernel)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


@pytest.fixture(params=["machine code", "interpreter"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The embedded engine's two ways of running programs, in turn."""
    way: str = request.param
    if way == "machine code":
        pytest.importorskip("llvmlite")
    else:
        monkeypatch.setenv("BPFCRYPTO_JIT", "0")
    return way


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Stay on CPU 0, where the embedded engine's user space is."""
    from support.cpus import on_one_cpu

    with on_one_cpu():
        yield


@pytest.fixture(scope="session")
def compile_bpf(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> CompileBpf:
    """``compile_bpf(source, cpu="v3")`` gives the object of a C text; results are kept between sessions."""
    cache = getattr(pytestconfig, "cache", None)  # absent under -p no:cacheprovider
    kept = cache.mkdir("bpf") if cache else tmp_path_factory.mktemp("bpf")

    def build(source: str, *, cpu: str = "v3") -> bytes:
        digest = hashlib.sha256(f"{_toolchain()}\0{cpu}\0{source}".encode()).hexdigest()
        built = Path(kept, f"{digest}.o")
        if built.exists():
            return built.read_bytes()
        text = tmp_path_factory.mktemp("bpf") / "test.bpf.c"
        text.write_text(source)
        data = compile_source(text, cpu=cpu)
        partial = built.with_suffix(f".{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(built)
        return data

    return build


@cache
def _toolchain() -> str:
    """A digest of everything but the source that decides what an object looks like."""
    digest = hashlib.sha256(Path(compile_source.__code__.co_filename).read_bytes())
    for header in sorted(include_dir().rglob("*.h")):
        digest.update(header.read_bytes())
    return digest.hexdigest()


DROP = """
import os, sys
import bpfcrypto.kernel.engine, bpfcrypto.kernel.probe, bpfcrypto.kernel.bpf, bpfcrypto.loader.load
import bpfcrypto.kernel.attachments
import elftools.elf.elffile  # imported late, and an ordinary user may not be able to read this installation
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
"""


@pytest.fixture
def unprivileged() -> Callable[..., str]:
    """``unprivileged(code, *arguments)`` runs Python in a process of an ordinary user and gives what it prints.

    ``before`` is run by the user that runs the tests: an ordinary one may not be able to read what it imports.
    """

    def run(program: str, *arguments: str, before: str = "") -> str:
        text = f"{before}\n{DROP}{program}"
        done = subprocess.run(
            [sys.executable, "-c", text, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def bpf_directory(tmp_path: Path) -> Iterator[Path]:
    """A BPF file system of our own; needs root."""
    if os.geteuid() != 0:
        skip_or_fail("mounting a BPF file system needs root")
    place = tmp_path / "bpf"
    place.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def open_fds() -> dict[str, str]:
    """This process's descriptors and what they refer to, BPF ones only."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if "bpf" in target or "btf" in target:
            found[name] = target
    return found


@pytest.fixture
def bpf_fds() -> Callable[[], dict[str, str]]:
    """``bpf_fds()`` lists this process's BPF descriptors."""
    return open_fds
