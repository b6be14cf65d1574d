"""How a link with ESP is shown."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcrypto.cli.esp_view import Live, print_status
from bpfcrypto.cli.render import age
from bpfcrypto.programs.esp.config import Config
from bpfcrypto.programs.esp.control import Event
from bpfcrypto.programs.esp.health import Health
from bpfcrypto.programs.esp.program import EspProgram
from bpfcrypto.programs.esp.report import take_report
from support.esp_tallies import SECOND, bring_up, config_of, count, opened_program


@pytest.fixture
def program() -> Iterator[EspProgram]:
    with opened_program() as opened:
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path)


class Terminal(io.StringIO):
    """Standard output as a person sees it."""

    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard output a terminal; in the test itself, since pytest has put its own stream there before."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LINES", "50")
    return stream


def cells(line: str) -> list[str]:
    """The words of a line of a table; blanks in cells count as well."""
    return line.split()


def words(text: str) -> list[list[str]]:
    return [cells(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (42.4, "42 s"),
        (59.9, "1 min 0 s"),
        (303, "5 min 3 s"),
        (7500, "2 h 5 min"),
        (273700, "3 d 4 h"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    """Times that have passed have the two units that matter."""
    assert age(seconds) == text


def test_a_link_that_is_down(program: EspProgram, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Without SAs there is one table, which says so of the peer."""
    print_status(take_report(program, config), as_json=False)
    head, row = capsys.readouterr().out.splitlines()

    assert cells(head) == cells("peer id mode suite local remote prefixes epoch acknowledged heard")
    assert cells(row)[:8] == cells("right 1 tunnel aes-256-ccm-16 192.0.2.1 198.51.100.1 10.2.0.0/16 -")
    assert "down: nothing is sent" in row
    assert row.endswith("never")


def test_status(program: EspProgram, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Peers, then SAs, then what was lost, by reason and with a word on it; in what no SA was found for, what was not lost as well."""
    bring_up(program, 5)
    installed = program.associations()[1].installed_ns
    count(program, 1, {"SEALED": 10}, size=900, last_ns=installed + 58 * SECOND)
    count(program, 2, {"OPENED": 8, "BAD_TAG": 4}, size=700, last_ns=installed + 60 * SECOND)
    count(program, 0, {"BYPASSED": 3, "CLEARTEXT": 2})
    print_status(take_report(program, config, now_ns=installed + 70 * SECOND), as_json=False)
    peers, associations, lost = (words(part) for part in capsys.readouterr().out.split("\n\n"))

    assert peers[1][-5:] == ["5", "yes", "10", "s", "ago"]
    assert associations[1] == cells("right out 0x501 5 sending 10 900 0 12 s ago 1 min 10 s 0")
    assert associations[2][:9] == cells("right in 0x601 6 next 0 0 0 never")
    assert associations[3][:11] == cells("right in 0x501 5 receiving 8 700 4 10 s ago")
    assert [row[:6] for row in lost[1:]] == [
        ["right", "in", "BAD_TAG", "4", "yes", "not"],
        ["(no", "SA)", "-", "BYPASSED", "3", "no"],
        ["(no", "SA)", "-", "CLEARTEXT", "2", "yes"],
    ]


def test_problems(
    program: EspProgram, config: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stand below the tables, and in JSON."""
    report = take_report(program, config, Health({"open": False}, ("program 'open' is off", "b")))
    print_status(report, as_json=False)
    assert capsys.readouterr().out.splitlines()[-3:] == ["", "problem: program 'open' is off", "problem: b"]

    print_status(report, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["attached"], found["problems"]) == ({"open": False}, ["program 'open' is off", "b"])

    terminal = watched(monkeypatch)
    with Live() as live:
        live.update(report)
    assert "problem: program 'open' is off" in terminal.getvalue()


def test_status_as_json(program: EspProgram, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json it is the report as it is."""
    bring_up(program, 5)
    report = take_report(program, config)
    print_status(report, as_json=True)

    assert json.loads(capsys.readouterr().out) == report.to_dict()


def test_a_line_for_each_event(program: EspProgram, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no person is watching there are events and nothing else, each with its time."""
    bring_up(program, 5)
    with Live(lambda: 0.0) as live:
        live.update(take_report(program, config), [Event("right", "moves to epoch 5"), Event("right", "[b]x[/b]")])
        live.update(take_report(program, config), [Event("right", "no key", failed=True)])
    first, second, third = capsys.readouterr().out.splitlines()

    assert first.split(maxsplit=1)[1] == "right: moves to epoch 5"
    assert second.split(maxsplit=1)[1] == "right: [b]x[/b]"
    assert third.split(maxsplit=1)[1] == "error: right: no key"
    assert first.startswith(("1970-01-01T", "1969-12-31T"))


def test_rates(program: EspProgram, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the tables have rates, from the second report on; a new SA has the rate of what it has counted."""
    terminal = watched(monkeypatch)
    bring_up(program, 5)
    installed = program.associations()[1].installed_ns
    count(program, 1, {"SEALED": 1000}, size=10_000)
    frames = []
    with Live() as live:
        for seconds in (1, 3):
            terminal.truncate(terminal.seek(0))
            live.update(take_report(program, config, now_ns=installed + seconds * SECOND))
            frames.append(terminal.getvalue())
            count(program, 1, {"SEALED": 6000, "TOO_BIG": 2}, size=760_000)

    rows = [next(line for line in words(frame) if line[1:2] == ["out"]) for frame in frames]
    assert rows[0][5:8] == ["-", "-", "1000"]
    assert rows[1][5:10] == ["2.5", "k", "3", "M", "6000"]
    assert "TOO_BIG" in frames[1]


def test_a_monitor_fits_into_a_window(program: EspProgram, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table that is kept up to date folds no cell in a window of 100 columns, with ordinary names and numbers."""
    terminal = watched(monkeypatch)
    monkeypatch.setenv("COLUMNS", "100")
    bring_up(program, 70_000)
    installed = program.associations()[1].installed_ns
    count(program, 2, {"OPENED": 99_999_999}, last_ns=installed)
    with Live() as live:
        live.update(take_report(program, config, now_ns=installed + 5000 * SECOND))

    row = next(line for line in words(terminal.getvalue()) if "receiving" in line)
    assert row[:5] == cells("right in 0x1117001 70000 receiving")
    assert row[-9:] == cells("0 1 h 23 min 1 h 23 min")


def test_events_stand_above_the_tables(program: EspProgram, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events on a terminal stay, above what is written over itself; they are text, not markup."""
    terminal = watched(monkeypatch)
    with Live(lambda: 0.0) as live:
        live.update(take_report(program, config), [Event("right", "begins [b]now[/b]")])
    shown = terminal.getvalue()

    assert "right: begins [b]now[/b]" in shown
    assert shown.index("begins") < shown.rindex("198.51.100.1")


def test_dumb_terminals(program: EspProgram, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot be written over is like none."""
    terminal = watched(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with Live() as live:
        live.update(take_report(program, config), [Event("right", "moves")])

    assert terminal.getvalue().count("\n") == 1
