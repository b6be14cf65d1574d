"""What operators see of a link, read from the maps alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcrypto.programs.esp import report as module
from bpfcrypto.programs.esp.growth import Growth
from bpfcrypto.programs.esp.program import EspProgram
from bpfcrypto.programs.esp.report import Report, State, take_report
from bpfcrypto.programs.esp.verdicts import VERDICTS, drops
from bpfcrypto.programs.esp.wire import spi_of
from support.esp_tallies import KEY, SECOND, bring_up, config_of, count, install, opened_program

ROOT = Path(__file__).parents[3]


@pytest.fixture
def program() -> Iterator[EspProgram]:
    with opened_program() as opened:
        yield opened


def states(report: Report) -> list[tuple[str, int | None, str]]:
    return [(each.direction.value, each.epoch, each.state.value) for each in report.associations]


def test_every_verdict_has_words(program: EspProgram) -> None:
    """The table has the verdicts of the object's BTF, no more and no fewer, in their order, with a sentence each."""
    assert tuple(VERDICTS) == program.verdicts
    assert len({verdict.text for verdict in VERDICTS.values()}) == len(VERDICTS)
    assert not [verdict.text for verdict in VERDICTS.values() if not verdict.text or verdict.text.endswith(".")]


def test_drops_are_those_of_the_programs(program: EspProgram) -> None:
    """A verdict is a drop where the programs drop, but for dummy packets, which nobody misses."""
    header = (ROOT / "src/bpfcrypto/programs/esp/types.h").read_text()
    found = re.search(r"#define FIRST_DROP (\w+)", header)
    assert found
    first = program.verdicts.index(found[1])

    assert set(drops(dict.fromkeys(program.verdicts, 1))) == set(program.verdicts[first:]) - {"DUMMY"}


def test_a_link_that_is_down(program: EspProgram, tmp_path: Path) -> None:
    """Without SAs there are the peers of the configuration, and nothing is sent to them."""
    report = take_report(program, config_of(tmp_path))
    (peer,) = report.peers

    assert (report.link, report.associations, report.unmatched) == ("west", (), {})
    assert (peer.sending, peer.epoch, peer.acknowledged, peer.heard) == (False, None, False, None)


def test_acknowledged_is_heard_in_our_epoch(program: EspProgram, tmp_path: Path) -> None:
    """The epoch is that of the SA that is sent with; what was heard in another one acknowledges nothing."""
    config = config_of(tmp_path)
    bring_up(program, 5)

    def seen() -> tuple[int | None, bool, float | None]:
        (peer,) = take_report(program, config, now_ns=100 * SECOND).peers
        return peer.epoch, peer.acknowledged, peer.heard

    assert seen() == (5, False, None)
    count(program, 3, {"DUMMY": 2}, last_ns=90 * SECOND)
    assert seen() == (5, False, 10.0)
    count(program, 2, {"OPENED": 2}, last_ns=97 * SECOND)
    assert seen() == (5, True, 3.0)


def test_states_of_epochs(program: EspProgram, tmp_path: Path) -> None:
    """Former, current and next epoch are told apart; a later one is a candidate until there is an SA to send in it."""
    config = config_of(tmp_path)
    bring_up(program, 5)
    bring_up(program, 6, first_slot=4)
    install(program, 7, spi_of(9, 1), outbound=False)

    assert states(take_report(program, config)) == [
        ("out", 6, "sending"),
        ("out", 5, "former"),
        ("in", 9, "candidate"),
        ("in", 7, "next"),
        ("in", 6, "receiving"),
        ("in", 5, "former"),
    ]
    install(program, 8, spi_of(9, 1), outbound=True)
    report = take_report(program, config)
    assert [each.state for each in report.associations if each.epoch == 9] == [State.NEXT, State.NEXT]


def test_states_of_explicit_keys(program: EspProgram, tmp_path: Path) -> None:
    """Where keys are given themselves, SAs are the current ones or former ones, and no number is read as an epoch."""
    config = config_of(tmp_path, explicit=True)
    for slot, spi, outbound in ((1, 0x1000, True), (2, 0x1001, True), (3, 0x2000, False), (4, 0x2001, False)):
        install(program, slot, spi, outbound=outbound)
    program.send(1, 2)
    program.receive(0x2000, 3)
    program.receive(0x2001, 4)
    count(program, 3, {"OPENED": 2}, last_ns=1)

    report = take_report(program, config)

    assert {each.association.spi: each.state.value for each in report.associations} == {
        0x1000: "former",
        0x1001: "sending",
        0x2000: "former",
        0x2001: "receiving",
    }
    assert {each.epoch for each in report.associations} == {None}
    assert (report.peers[0].sending, report.peers[0].epoch, report.peers[0].acknowledged) == (True, None, False)


def test_peers_that_the_configuration_does_not_have(program: EspProgram, tmp_path: Path) -> None:
    """What is left in the maps of another configuration is shown, with the number in place of a name, behind the others."""
    bring_up(program, 1)
    install(program, 9, spi_of(1, 7), outbound=True, peer=7)
    program.send(7, 9)
    install(program, 10, spi_of(1, 7), outbound=False, peer=7)

    *_, out, into = take_report(program, config_of(tmp_path)).associations

    assert [(each.peer, each.label, each.state.value) for each in (out, into)] == [
        (None, "id 7", "sending"),
        (None, "id 7", "former"),
    ]


def test_counters(program: EspProgram, tmp_path: Path) -> None:
    """Counters are sums over the CPUs, and told apart by what they mean; packets without an SA stand by themselves."""
    install(program, 1, spi_of(1, 1), outbound=True, sequence=41)
    program.send(1, 1)
    install(program, 2, spi_of(1, 1), outbound=False)
    count(program, 1, {"SEALED": 10, "TOO_BIG": 2}, size=900)
    count(program, 2, {"OPENED": 8, "DUMMY": 3, "BAD_TAG": 4, "REPLAY": 5, "TOO_OLD": 6}, size=700)
    count(program, 0, {"NO_SA": 7, "BYPASSED": 9})

    report = take_report(program, config_of(tmp_path))
    out, into = report.associations

    assert (out.carried, out.bytes, out.drops, out.sequence) == (10, 900, {"TOO_BIG": 2}, 41)
    assert (into.carried, into.bytes, into.sequence) == (8, 700, 0)
    assert (into.authentication_failures, into.replays) == (4, 11)
    assert into.drops == {"BAD_TAG": 4, "REPLAY": 5, "TOO_OLD": 6}
    assert report.unmatched == {"NO_SA": 7, "BYPASSED": 9}


def test_ages(program: EspProgram, tmp_path: Path) -> None:
    """Times are relative to the report, and never negative: the clock of last packets is a coarse one."""
    bring_up(program, 1)
    installed = program.associations()[1].installed_ns
    count(program, 1, {"SEALED": 2}, last_ns=installed + 5 * SECOND)

    late = take_report(program, config_of(tmp_path), now_ns=installed + 8 * SECOND).associations[0]
    early = take_report(program, config_of(tmp_path), now_ns=installed - 1).associations[0]

    assert (late.age, late.last) == (8.0, 3.0)
    assert (early.age, early.last) == (0.0, 0.0)


def test_a_slot_that_is_filled_anew_meanwhile(
    program: EspProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters that may be of another SA are not shown as those of this one: the maps are read again."""
    config = config_of(tmp_path)
    install(program, 1, spi_of(1, 1), outbound=True)
    tally, calls = program.tally, []

    def replaced(slot: int) -> object:
        found = tally(slot)
        if not calls:
            calls.append(slot)
            program.clear(1)
            install(program, 1, spi_of(2, 1), outbound=True)
            count(program, 1, {"SEALED": 2})
        return found

    monkeypatch.setattr(program, "tally", replaced)
    (found,) = take_report(program, config).associations
    assert (found.epoch, found.carried) == (2, 2)

    calls.clear()
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    assert take_report(program, config).associations == ()


def test_json(program: EspProgram, tmp_path: Path) -> None:
    """The JSON form has the keys that the reference explains, and neither it nor the repr has anything of a key."""
    bring_up(program, 3)
    report = take_report(program, config_of(tmp_path))
    text = json.dumps(report.to_dict())
    table = json.loads(text)
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/esp-status.md").read_text(), re.MULTILINE))

    assert {*table, *table["peers"][0], *table["associations"][0]} <= documented
    assert {*VERDICTS, *(state.value for state in State)} <= documented
    assert table["peers"][0]["prefixes"] == ["10.2.0.0/16"]
    assert [each["spi"] for each in table["associations"]] == [0x301, 0x401, 0x301]
    assert len(table["associations"][0]["fingerprint"]) == 16
    for shown in (text, repr(report)):
        assert KEY.hex() not in shown
        assert str(KEY)[2:-1] not in shown


def test_growth(program: EspProgram, tmp_path: Path) -> None:
    """An SA has grown from zero when it is new, also in a slot that was another's; one that is missed in between is not counted twice."""
    config = config_of(tmp_path)
    install(program, 1, spi_of(1, 1), outbound=True)
    count(program, 1, {"SEALED": 10}, size=1000)
    growth = Growth()

    def step(seconds: int) -> tuple[object, ...]:
        grown = growth.step(take_report(program, config, now_ns=seconds * SECOND))
        return grown.associations.get(1), grown.unmatched, grown.seconds

    assert step(5) == (({"SEALED": 10}, 1000), {}, 0.0)
    count(program, 1, {"SEALED": 15, "TOO_BIG": 2}, size=1400)
    count(program, 0, {"NO_SA": 3})
    first = take_report(program, config, now_ns=7 * SECOND)
    assert step(7) == (({"SEALED": 5, "TOO_BIG": 2}, 400), {"NO_SA": 3}, 2.0)
    program.clear(1)
    assert step(8) == (None, {}, 1.0)
    assert growth.step(first).associations == {1: ({}, 0)}
    install(program, 1, spi_of(2, 1), outbound=True)
    count(program, 1, {"SEALED": 12}, size=2000)
    assert step(10)[0] == ({"SEALED": 12}, 2000)
    count(program, 1, {"SEALED": 3}, size=30)
    assert step(11)[0] == ({"SEALED": 3}, 30)
