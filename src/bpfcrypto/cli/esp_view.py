"""How a link with ESP is shown: once, and as a table that is kept up to date.

First the peers, then their security associations, then what was lost, with a word on why.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import click

from bpfcrypto.cli.render import age, console, make_table, print_json, print_table, si

if TYPE_CHECKING:
    from rich.live import Live as RichLive
    from rich.table import Table

    from bpfcrypto.programs.esp.control import Event
    from bpfcrypto.programs.esp.growth import Step
    from bpfcrypto.programs.esp.report import PeerReport, Report, SaReport

_Rates = Mapping[int, tuple[float, float]]
"""Packets and bits per second by slot."""

_PEERS = ("peer", "id", "mode", "suite", "local", "remote", "prefixes", "epoch", "acknowledged", "heard")
_SAS = ("peer", "dir", "SPI", "epoch", "state", "packets", "bytes", "dropped", "last packet", "age", "sequence")
_LOSSES = ("peer", "dir", "verdict", "packets", "dropped", "meaning")

# What a monitor shows all the time should fit into 80 to 100 columns.
_LIVE_PEERS = ("peer", "remote", "epoch", "acknowledged", "heard")
_LIVE_SAS = ("peer", "dir", "SPI", "epoch", "state", "packets/s", "bit/s", "packets", "dropped", "last", "age")

_LEFT = {
    "peer",
    "mode",
    "suite",
    "local",
    "remote",
    "prefixes",
    "acknowledged",
    "dir",
    "SPI",
    "state",
    "verdict",
    "meaning",
}


class _Part(NamedTuple):
    columns: Sequence[str]
    rows: list[Sequence[object]]

    @property
    def right(self) -> Sequence[str]:
        """The columns that are flush right: numbers and times."""
        return [column for column in self.columns if column not in _LEFT]


def print_status(report: Report, as_json: bool) -> None:
    """Print a report on standard output.

    Args:
        report: what there is.
        as_json: whether as one JSON document, whose keys are those of ``Report.to_dict``.
    """
    if as_json:
        print_json(report.to_dict())
        return
    for number, part in enumerate(_parts(report)):
        if number:
            click.echo()
        print_table(part.columns, part.rows, right=part.right)
    for number, text in enumerate(report.health.problems):
        if not number:
            click.echo()
        click.echo(f"problem: {text}")


def in_words(event: Event) -> str:
    """A line for an event."""
    return f"error: {event}" if event.failed else str(event)


class Live:
    """What a monitor shows, for the length of a ``with`` block.

    On a terminal: the tables with rates, written over themselves, and events above them. Elsewhere: a line for each event.

    Args:
        clock: Unix time in seconds, which stands in front of events.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        from bpfcrypto.programs.esp.growth import Growth

        self._clock = clock
        self._growth = Growth()
        self._live: RichLive | None = None
        if sys.stdout.isatty():
            from rich.live import Live as RichLive

            out = console()
            if not out.is_dumb_terminal:
                self._live = RichLive(console=out, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, report: Report, events: Iterable[Event] = ()) -> None:
        """Show what there is now, and what has happened; to be called about once a second.

        Args:
            report: what there is.
            events: since the last call.
        """
        if self._live is None:
            for event in events:
                click.echo(f"{self._now('%Y-%m-%dT%H:%M:%S%z')} {in_words(event)}")
            sys.stdout.flush()
            return
        from rich.console import Group
        from rich.text import Text

        for event in events:
            self._live.console.print(Text(f"{self._now('%H:%M:%S')} {in_words(event)}"))
        step = self._growth.step(report)
        rows: list[Table | str] = []
        for part in _parts(report, _rates(step)):
            rows += ["", make_table(part.columns, part.rows, right=part.right)]
        problems = [Text(f"problem: {text}") for text in report.health.problems]
        self._live.update(Group(*rows, *([Text(), *problems] if problems else ())), refresh=True)

    def _now(self, shape: str) -> str:
        return time.strftime(shape, time.localtime(self._clock()))


def _rates(step: Step) -> _Rates:
    """Nothing for the first report, which has none before it."""
    from bpfcrypto.programs.esp.verdicts import CARRIED

    if step.seconds <= 0:
        return {}
    return {
        slot: (sum(packets.get(name, 0) for name in CARRIED) / step.seconds, 8 * size / step.seconds)
        for slot, (packets, size) in step.associations.items()
    }


def _parts(report: Report, rates: _Rates | None = None) -> Iterator[_Part]:
    """The tables; with rates those of a monitor."""
    peers, associations = (_PEERS, _SAS) if rates is None else (_LIVE_PEERS, _LIVE_SAS)
    yield _part(peers, map(_peer_cells, report.peers))
    if report.associations:
        yield _part(associations, (_sa_cells(each, (rates or {}).get(each.slot)) for each in report.associations))
    lost = list(_losses(report))
    if lost:
        yield _Part(_LOSSES, lost)


def _part(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> _Part:
    return _Part(columns, [[row[column] for column in columns] for row in rows])


def _peer_cells(each: PeerReport) -> Mapping[str, object]:
    peer = each.peer
    return {
        "peer": peer.name,
        "id": peer.id,
        "mode": peer.mode.name.lower(),
        "suite": peer.suite.name,
        "local": peer.local,
        "remote": peer.remote,
        "prefixes": " ".join(map(str, peer.prefixes)),
        "epoch": _or_dash(each.epoch),
        "acknowledged": ("yes" if each.acknowledged else "not yet") if each.sending else "down: nothing is sent",
        "heard": _ago(each.heard),
    }


def _sa_cells(each: SaReport, rate: tuple[float, float] | None) -> Mapping[str, object]:
    return {
        "peer": each.label,
        "dir": each.direction.value,
        "SPI": f"{each.association.spi:#x}",
        "epoch": _or_dash(each.epoch),
        "state": each.state.value,
        "packets/s": "-" if rate is None else si(rate[0], "").rstrip(),
        "bit/s": "-" if rate is None else si(rate[1], "").rstrip(),
        "packets": each.carried,
        "bytes": each.bytes,
        "dropped": sum(each.drops.values()),
        "last packet": _ago(each.last),
        "last": "never" if each.last is None else age(each.last),
        "age": age(each.age),
        "sequence": each.sequence,
    }


def _losses(report: Report) -> Iterator[Sequence[object]]:
    """What was lost, by peer, direction and verdict; and all packets that no SA was found for."""
    from bpfcrypto.programs.esp.verdicts import VERDICTS

    lost: Counter[tuple[str, str, str]] = Counter()
    for each in report.associations:
        for name, count in each.drops.items():
            lost[each.label, each.direction.value, name] += count
    for name, count in report.unmatched.items():
        lost["(no SA)", "-", name] = count
    for (peer, direction, name), count in lost.items():
        verdict = VERDICTS[name]
        yield peer, direction, name, count, "yes" if verdict.drop else "no", verdict.text


def _or_dash(value: object) -> object:
    return "-" if value is None else value


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{age(seconds)} ago"
