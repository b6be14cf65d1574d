"""The line that says how far a long verification has got."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfcrypto.cli import progress
from bpfcrypto.cli.main import main
from bpfcrypto.cli.progress import Verifying

LONG = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC("xdp")
int rounds(struct xdp_md *xdp)
{
	int i;

	for (i = 0; i < 15000; i++)
		asm volatile("" : "+r"(i));
	return XDP_PASS;
}
"""


@pytest.fixture
def long(tmp_path: Path) -> str:
    path = tmp_path / "long.bpf.c"
    path.write_text(LONG)
    return str(path)


def test_nothing_before_two_seconds(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing before, then one line where nobody watches a terminal."""
    clock = iter((100.0, 101.9, 102.1, 110.0))
    monkeypatch.setattr("bpfcrypto.cli.progress.time.monotonic", lambda: next(clock))
    report = Verifying()
    for visited in (20_000, 40_000, 60_000, 80_000):
        report("big", visited)

    assert capsys.readouterr().err == "verifying big: 60000 instructions visited\n"


def test_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the line is written over itself, and nothing of it is left."""
    clock = iter((100.0, 102.1, 102.2, 103.0))
    monkeypatch.setattr("bpfcrypto.cli.progress.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Verifying() as report:
        for visited in (20_000, 40_000, 60_000, 80_000):
            report("big", visited)

    assert capsys.readouterr().err == (
        "\rverifying big: 40000 instructions visited\rverifying big: 80000 instructions visited\r\033[K"
    )


@pytest.mark.parametrize("command", [["check"], ["run", "-p", "rounds", "--data", "00" * 14]], ids=["check", "run"])
def test_commands(
    long: str, command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands that verify say how far they are, where that takes long."""
    monkeypatch.setattr(progress, "_VERIFIER_PATIENCE_S", 0.0)
    name, *rest = command

    assert main([name, long, *rest]) == 0
    assert "verifying rounds: 20000 instructions visited\n" in capsys.readouterr().err
