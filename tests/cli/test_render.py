"""Tables and numbers for people, and the progress bar."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcrypto.capture import Capture, open_capture
from bpfcrypto.cli import progress
from bpfcrypto.cli.render import duration, print_table, si
from support.captures import pcap_header, pcap_record


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0 ns"), (740, "740 ns"), (1_234, "1.23 µs"), (57_200_000, "57.2 ms"), (2.5e9, "2.5 s")],
)
def test_durations(nanoseconds: float, text: str) -> None:
    """Times have three digits and the unit that fits."""
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(("value", "text"), [(12, "12 B"), (12_345, "12.3 kB"), (2_000_000, "2 MB"), (3.1e9, "3.1 GB")])
def test_sizes(value: float, text: str) -> None:
    """Sizes have three digits and a decimal prefix."""
    assert si(value, "B") == text


def test_tables_have_no_trailing_space(capsys: pytest.CaptureFixture[str]) -> None:
    """A table is plain text that tools can read: aligned columns, nothing behind the last one."""
    print_table(("name", "n"), [("[red]a[/]", 1), ("bb", 22)], right=("n",))

    assert capsys.readouterr().out == "name        n\n[red]a[/]   1\nbb         22\n"


class Terminal(io.StringIO):
    """Standard error as a person sees it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def capture(tmp_path: Path) -> Iterator[Capture]:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap_header() + pcap_record(bytes(60)))
    with open_capture(path) as opened:
        yield opened


def test_nobody_watching(monkeypatch: pytest.MonkeyPatch, capture: Capture) -> None:
    """Where standard error is no terminal nothing is shown, and nobody is asked to tell."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    with progress.progress(capture, "-") as show:
        assert show is None
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("patience", "shown"), [(60.0, False), (-1.0, True)])
def test_the_bar_comes_late(monkeypatch: pytest.MonkeyPatch, capture: Capture, patience: float, shown: bool) -> None:
    """Short work shows no bar; long work does."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_PATIENCE_S", patience)

    with progress.progress(capture, capture.name) as show:
        assert show is not None
        for count in range(5):
            show(count)
    assert ("packets" in stream.getvalue()) is shown
