"""The command line as a whole: exit codes, where output goes, how errors look."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from bpfcrypto import __version__
from bpfcrypto.cli import main as cli
from bpfcrypto.errors import (
    BpfCryptoError,
    CaptureError,
    CompileError,
    ConfigError,
    NotSupportedError,
    PrivilegeError,
    RunError,
    VerifierError,
)

OBJECT = str(Path(__file__).parents[2] / "examples/crypto_packets.bpf.o")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version on standard output."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"bpfcrypto {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "no such command 'nonsense'"),
        (["run", OBJECT], "missing option '-p' / '--program'"),
        (["run", "missing.o", "-p", "x"], "invalid value for 'FILE': File 'missing.o' does not exist"),
        (["run", OBJECT, "-p", "encrypt", "--repeat", "0"], "0 is not in the range x>=1"),
        (["run", OBJECT, "-p", "encrypt", "--data", "0x"], "invalid value for '--data': not hexadecimal"),
        (
            ["run", OBJECT, "-p", "encrypt", "--pcap", "a", "--data", "00"],
            "--pcap goes with neither --data nor --repeat",
        ),
        (["run", OBJECT, "-p", "encrypt", "--write", "a"], "--write needs --pcap"),
        (["run", OBJECT, "-p", "encrypt", "--pcap", "a", "--write", "-", "--json"], "both want standard output"),
        (["run", OBJECT, "-p", "encrypt", "--set", "key"], "'key' is not NAME=VALUE"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """Wrong usage is exit code 2 with an error and a hint, and nothing on standard output."""
    code = cli.main(arguments)

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert message in err
    assert "--help' explains the options" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotSupportedError("steam"), 3),
        (PrivilegeError("CAP_BPF is missing"), 3),
        (ConfigError("1 is not allowed", place="[link] mtu"), 2),
        (CaptureError("cut"), 1),
        (RunError("bad access"), 1),
    ],
)
def test_errors_end_with_their_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BpfCryptoError, code: int
) -> None:
    """An error of the package is two lines on standard error and an exit code, never a traceback."""
    error.hint = "do something"

    @click.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: fail)

    assert cli.main(["fail"]) == code
    assert capsys.readouterr() == ("", f"error: {error}\nhint: do something\n")


def test_a_verifier_log_is_shown_by_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a long verifier log the last lines are shown, which say why."""
    log = "\n".join(f"line {n}" for n in range(100))

    cli.print_error(VerifierError("no", program="p", errno=22, log=log))

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "line 76"
    assert lines[-2:] == ["line 99", "error: program 'p': rejected by the verifier (EINVAL): no"]


def test_a_compiler_log_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a compiler's log the first lines matter, so all are shown."""
    cli.print_error(CompileError("no", log="\n".join(f"line {n}" for n in range(100))))

    assert capsys.readouterr().err.splitlines()[0] == "line 0"


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is a word and exit code 130."""

    @click.command()
    def wait() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: wait)

    assert cli.main(["wait"]) == 130
    assert capsys.readouterr().err.strip() == "error: interrupted"


def test_a_closed_pipe_is_no_error() -> None:
    """``bpfcrypto ... | head`` ends quietly."""
    command = f"'{sys.executable}' -m bpfcrypto.cli disasm '{OBJECT}' | head -n 1"

    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)

    assert result.stdout.startswith("setup: section 'syscall'")
    assert result.stderr == ""


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals(environment: dict[str, str], coloured: bool) -> None:
    """Errors are coloured on a terminal, unless NO_COLOR is set."""
    import os
    import pty

    master, slave = pty.openpty()
    clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-m", "bpfcrypto.cli", "nonsense"], stderr=slave, env=clean | environment, check=False
    )
    os.close(slave)
    printed = os.read(master, 4096)
    os.close(master)

    assert b"no such command" in printed
    assert (b"\x1b[" in printed) is coloured
