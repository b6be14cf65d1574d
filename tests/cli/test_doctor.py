"""``bpfcrypto doctor``."""

from __future__ import annotations

import json

import pytest

from bpfcrypto import open_engine
from bpfcrypto.cli import doctor as command
from bpfcrypto.cli.main import main
from bpfcrypto.context.ciphers import CANDIDATES, probe
from bpfcrypto.errors import NotSupportedError, PrivilegeError


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The report covers both engines, the compiler and the packages, and the embedded engine always works."""
    assert main(["doctor", "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    embedded = report["engines"]["embedded"]
    assert list(report) == ["version", "python", "platform", "packages", "compiler", "kernel", "engines"]
    assert embedded["ciphers"].keys() == set(CANDIDATES)
    assert [name for name, answer in embedded["ciphers"].items() if answer == "ok"] == ["ecb(aes)", "cbc(aes)"]
    assert embedded["ciphers"]["ctr(aes)"] == "EINVAL (Invalid argument)"
    assert all(embedded["crypto_kfuncs"].values())


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a line for each thing, and ends with where programs can run."""
    assert main(["doctor"]) == 0

    out = capsys.readouterr().out
    assert "embedded engine" in out
    assert "programs with crypto kfuncs run on: embedded" in out


@pytest.mark.kernel
def test_the_kernel_engine_works() -> None:
    """With bpf(2) at hand the kernel engine has the kfuncs and makes contexts."""
    engine = command.examine()["engines"]["kernel"]

    assert engine["ciphers"]["cbc(aes)"] == "ok"
    assert all(engine["crypto_kfuncs"].values())


@pytest.mark.parametrize("name", ["embedded", pytest.param("kernel", marks=pytest.mark.kernel)])
def test_the_cipher_probe_leaves_nothing(name: str) -> None:
    """The probe answers for each candidate, however often it is asked."""
    with open_engine(name) as engine:
        first, second = probe(engine), probe(engine)

    assert first == second
    assert tuple(first) == CANDIDATES
    assert first["ecb(aes)"] == 0


@pytest.mark.parametrize(
    "error", [NotSupportedError("the kernel engine", hint="use Linux"), PrivilegeError("denied", hint="be root")]
)
def test_an_engine_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """What an engine lacks is part of the report and no failure of the command."""

    def refuse(name: str) -> None:
        raise error

    monkeypatch.setattr("bpfcrypto.runtime.open_engine", refuse)

    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"{error}; {error.hint}" in out  # type: ignore[attr-defined]
    assert "programs with crypto kfuncs run on: nothing here" in out


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler the report says how to get one."""

    def refuse() -> None:
        raise NotSupportedError("compiling BPF C", hint="install one")

    monkeypatch.setattr("bpfcrypto.cc.find_compiler", refuse)

    assert command.examine()["compiler"] == {
        "name": None,
        "error": "compiling BPF C is not supported here",
        "hint": "install one",
    }


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed has no version."""
    monkeypatch.setattr(command, "PACKAGES", ("no-such-package",))

    assert command.examine()["packages"] == {"no-such-package": None}


def test_kfuncs_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Each kfunc is there or has a reason."""
    assert main(["doctor", "--kfuncs", "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in report["kfuncs"]}
    assert rows["bpf_crypto_encrypt"]["embedded"]
    assert rows["bpf_crypto_encrypt"]["types"] == ["SCHED_ACT", "SCHED_CLS", "XDP"]
    assert rows["bpf_task_from_pid"]["reason"] == "it has no tasks"
    assert all(bool(row["reason"]) is not row["embedded"] for row in rows.values())


@pytest.mark.kernel
def test_kfuncs_of_this_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    """The running kernel is asked too, and the last lines count."""
    assert main(["doctor", "--kfuncs"]) == 0

    out = capsys.readouterr().out
    [row] = [line for line in out.splitlines() if line.startswith("bpf_crypto_ctx_create ")]
    assert row.split() == ["bpf_crypto_ctx_create", "6.10", "SYSCALL", "yes", "SYSCALL"]
    assert "\nembedded engine: " in out
    assert "\nthis kernel: " in out


def test_kfuncs_without_a_kernel(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no kernel can be asked the report says so, and has all the rest."""
    monkeypatch.setattr("sys.platform", "darwin")

    assert main(["doctor", "--kfuncs"]) == 0
    assert capsys.readouterr().out.endswith("this kernel: there is no Linux kernel here\n")
