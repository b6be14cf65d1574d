"""Without capabilities: the missing one is named, and tests that need a kernel skip or fail as they are told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.errors import PrivilegeError, SyscallError
from bpfcrypto.kernel import privilege, refusal
from bpfcrypto.kernel.attr import Command

Unprivileged = Callable[..., str]

REPORT = """
from bpfcrypto.errors import PrivilegeError
def report(call):
    try:
        call()
    except PrivilegeError as error:
        print(type(error).__name__, error.errno, isinstance(error, PermissionError), error, "|", error.hint)
    else:
        print("no error")
"""


@pytest.mark.kernel
def test_load_without_capabilities(unprivileged: Unprivileged, cipher_object: bytes) -> None:
    """Loading an object names CAP_BPF and says how to get it."""
    printed = unprivileged(
        REPORT + "engine = bpfcrypto.kernel.engine.KernelEngine()\n"
        "report(lambda: engine.load(bytes.fromhex(sys.argv[1])))\n"
        "report(lambda: engine.check(bytes.fromhex(sys.argv[1])))\n",
        cipher_object.hex(),
    ).splitlines()

    assert len(printed) == 2
    for line in printed:
        assert line.startswith("PrivilegeError 1 True BPF_BTF_LOAD: EPERM")
        assert "CAP_BPF is missing" in line
        assert "run as root" in line
        assert "unprivileged_bpf_disabled is" in line


@pytest.mark.kernel
def test_raw_program_without_capabilities(unprivileged: Unprivileged) -> None:
    """A network program needs both capabilities, and both are named."""
    printed = unprivileged(
        REPORT + "from bpfcrypto.kernel.load import load_program\n"
        "from bpfcrypto.kernel.bpf import LoadRequest\n"
        "report(lambda: load_program(LoadRequest(6, bytes.fromhex('b7000000000000009500000000000000'), name='p')))\n"
    )

    assert "BPF_PROG_LOAD: EPERM (program 'p'): CAP_BPF and CAP_NET_ADMIN is missing" in printed


@pytest.mark.kernel
def test_probe_without_capabilities(unprivileged: Unprivileged) -> None:
    """The probe answers instead of raising, with the reason in words."""
    printed = unprivileged(
        "able = bpfcrypto.kernel.engine.KernelEngine().capabilities\n"
        "print(sorted(able.prog_types), able.jit, able.why_not['kernel'])\n"
    )

    assert printed.startswith("[] False BPF_MAP_CREATE: EPERM: CAP_BPF is missing")


RULE = """
import pytest
@pytest.mark.kernel
def test_needs_kernel():
    pass
def test_needs_nothing():
    pass
"""


@pytest.mark.kernel
@pytest.mark.parametrize(("required", "summary"), [("", "1 passed, 1 skipped"), ("1", "1 passed, 1 error")])
def test_rule_for_kernel_tests(required: str, summary: str, tmp_path: Path) -> None:
    """Where bpf(2) cannot be used, marked tests skip with the reason, or fail when the kernel is required."""
    tests = Path(__file__).parent.parent
    (tmp_path / "conftest.py").write_text((tests / "conftest.py").read_text())
    (tmp_path / "test_rule.py").write_text(RULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = kernel\n")
    program = (
        "import sys, pytest, bpfcrypto.kernel.probe as probe\n"
        "probe.unavailable = lambda: 'no kernel today'\n"
        "sys.exit(pytest.main(['-q', '-rsfE', '-p', 'no:cacheprovider', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "BPFCRYPTO_REQUIRE_KERNEL": required, "PYTHONPATH": str(tests)},
        timeout=60,
    )

    assert summary in done.stdout, done.stdout + done.stderr
    assert "no kernel today" in done.stdout


def test_missing_capability_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """EPERM with a capability missing is a PrivilegeError; with all of them it is a SyscallError with suspects."""
    monkeypatch.setattr(privilege, "effective", lambda: frozenset({"CAP_BPF"}))
    needs = refusal.needs_for_program(ProgType.XDP)

    error = refusal.refuse(Command.PROG_LOAD, 1, "program 'p'", needs=needs)
    assert isinstance(error, PrivilegeError)
    assert "CAP_NET_ADMIN is missing" in str(error)

    monkeypatch.setattr(privilege, "effective", lambda: frozenset(privilege.CAPABILITIES))
    error = refusal.refuse(Command.PROG_LOAD, 1, "program 'p'", needs=needs)
    assert isinstance(error, SyscallError)
    assert error.hint is not None
    assert "suspects" in error.hint


@pytest.mark.parametrize(
    ("status", "lockdown", "words"),
    [
        ("Seccomp:\t2\n", "", "seccomp filter"),
        ("Seccomp:\t0\n", "none [integrity] confidentiality", "kernel lockdown"),
        ("Seccomp:\t0\n", "[none] integrity", "security module"),
    ],
)
def test_suspects(monkeypatch: pytest.MonkeyPatch, status: str, lockdown: str, words: str) -> None:
    """What the system's files show is what the hint says."""
    files = {
        "/proc/self/status": status,
        "/sys/kernel/security/lockdown": lockdown,
        "/proc/self/uid_map": "0 0 4294967295",
    }
    monkeypatch.setattr(privilege, "read_text", lambda path: files.get(path, ""))

    assert privilege.denial().startswith(words) or f"; {words}" in privilege.denial() or words in privilege.denial()
    assert ("lockdown" in privilege.denial()) == (words == "kernel lockdown")


def test_sys_admin_stands_for_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """CAP_SYS_ADMIN implies CAP_BPF, as in the kernel, but not CAP_NET_ADMIN."""
    monkeypatch.setattr(privilege, "read_text", lambda _: f"CapEff:\t{1 << 21:016x}\n")

    assert privilege.missing("CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN") == ()
    assert privilege.missing("CAP_NET_ADMIN") == ("CAP_NET_ADMIN",)
