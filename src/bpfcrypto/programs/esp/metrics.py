"""Reports as metrics: counters that only grow, and gauges, in Prometheus' text format 0.0.4.

The counters of an SA end with it, and its slot begins at zero for the next one. So totals are kept here, by peer and direction, for as long
as the process runs: they begin with what the first report has, and grow by what each report adds. What an SA counts between the last report
that has it and its end is not in them. When the process starts again, counters start again, as Prometheus expects of them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfcrypto.programs.esp.growth import Growth
from bpfcrypto.programs.esp.report import Direction, State

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.report import PeerReport, Report, SaReport

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FAMILIES: Mapping[str, tuple[str, str]] = {
    "bpfcrypto_esp_packets_total": ("counter", "Packets of a peer's security associations by what has become of them."),
    "bpfcrypto_esp_bytes_total": ("counter", "Bytes of the packets in the clear that were sealed or opened."),
    "bpfcrypto_esp_unmatched_packets_total": (
        "counter",
        "Packets that no security association was found for, by what has become of them.",
    ),
    "bpfcrypto_esp_attached": ("gauge", "1 if a program is on its interface, else 0."),
    "bpfcrypto_esp_peer_info": ("gauge", "1 for each peer of the configuration."),
    "bpfcrypto_esp_sending": ("gauge", "1 if there is a security association to send with, else 0."),
    "bpfcrypto_esp_acknowledged": ("gauge", "1 if the peer was heard with the keys that are sent with, else 0."),
    "bpfcrypto_esp_epoch": ("gauge", "The epoch that is sent in."),
    "bpfcrypto_esp_associations": ("gauge", "Security associations by what they are there for."),
    "bpfcrypto_esp_sequence": (
        "gauge",
        "Of the security association in use: the sequence number used last, or the highest that was received.",
    ),
    "bpfcrypto_esp_age_seconds": ("gauge", "Seconds since the security association in use was installed."),
    "bpfcrypto_esp_last_packet_age_seconds": (
        "gauge",
        "Seconds since the last sealed or authentic packet of the security association in use; absent if there was none.",
    ),
    "bpfcrypto_esp_read_timestamp_seconds": ("gauge", "When these numbers were read, in Unix time."),
}
"""Each metric: its type and what it is."""

_STATES = {
    Direction.OUT: (State.SENDING, State.NEXT, State.FORMER),
    Direction.IN: (State.RECEIVING, State.NEXT, State.FORMER, State.CANDIDATE),
}
_IN_USE = (State.SENDING, State.RECEIVING)

# What is there from the start: the first packet of a counter that is not has no rate.
_FROM_START = {Direction.OUT: ("SEALED",), Direction.IN: ("OPENED", "DUMMY", "BAD_TAG", "REPLAY", "TOO_OLD")}
_UNMATCHED_FROM_START = ("NO_POLICY", "CLEARTEXT", "NO_SA")


@dataclass(frozen=True, slots=True)
class _Sample:
    family: str
    labels: Mapping[str, str]
    value: float


class Metrics:
    """The metrics of a link.

    Args:
        clock: Unix time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._growth = Growth()
        self._packets: Counter[tuple[str, Direction, str]] = Counter()
        self._bytes: Counter[tuple[str, Direction]] = Counter()
        self._unmatched: Counter[str] = Counter(dict.fromkeys(_UNMATCHED_FROM_START, 0))
        self._text = ""

    @property
    def text(self) -> str:
        """The metrics as of the last report; "" before the first one. Any thread may ask."""
        return self._text

    def update(self, report: Report) -> None:
        """Take in a report."""
        for peer in report.peers:
            for direction, names in _FROM_START.items():
                self._bytes[peer.peer.name, direction] += 0
                for name in names:
                    self._packets[peer.peer.name, direction, name] += 0
        step = self._growth.step(report)
        for each in report.associations:
            packets, size = step.associations[each.slot]
            self._bytes[each.label, each.direction] += size
            for name, count in packets.items():
                self._packets[each.label, each.direction, name] += count
        self._unmatched.update(step.unmatched)
        self._text = _text(report.link, [*self._totals(), *_gauges(report, self._clock())])

    def _totals(self) -> Iterator[_Sample]:
        for (peer, direction, verdict), count in self._packets.items():
            yield _Sample(
                "bpfcrypto_esp_packets_total", {"peer": peer, "direction": direction, "verdict": verdict}, count
            )
        for (peer, direction), size in self._bytes.items():
            yield _Sample("bpfcrypto_esp_bytes_total", {"peer": peer, "direction": direction}, size)
        for verdict, count in self._unmatched.items():
            yield _Sample("bpfcrypto_esp_unmatched_packets_total", {"verdict": verdict}, count)


def _gauges(report: Report, now: float) -> Iterator[_Sample]:
    for program, there in report.health.attached.items():
        yield _Sample("bpfcrypto_esp_attached", {"program": program}, int(there))
    for peer in report.peers:
        yield from _of_peer(peer)
    numbers = Counter((each.label, each.direction, each.state) for each in report.associations)
    for peer in report.peers:
        for direction, states in _STATES.items():
            for state in states:
                labels = {"peer": peer.peer.name, "direction": direction, "state": state}
                yield _Sample("bpfcrypto_esp_associations", labels, numbers.pop((peer.peer.name, direction, state), 0))
    for (name, direction, state), number in numbers.items():
        yield _Sample("bpfcrypto_esp_associations", {"peer": name, "direction": direction, "state": state}, number)
    for each in report.associations:
        if each.state in _IN_USE:
            yield from _of_association(each)
    yield _Sample("bpfcrypto_esp_read_timestamp_seconds", {}, round(now, 3))


def _of_peer(each: PeerReport) -> Iterator[_Sample]:
    peer = each.peer
    info = {"peer": peer.name, "id": str(peer.id), "mode": peer.mode.name.lower(), "suite": peer.suite.name}
    labels = {"peer": peer.name}
    yield _Sample("bpfcrypto_esp_peer_info", info, 1)
    yield _Sample("bpfcrypto_esp_sending", labels, int(each.sending))
    yield _Sample("bpfcrypto_esp_acknowledged", labels, int(each.acknowledged))
    if each.epoch is not None:
        yield _Sample("bpfcrypto_esp_epoch", labels, each.epoch)


def _of_association(each: SaReport) -> Iterator[_Sample]:
    labels = {"peer": each.label, "direction": each.direction}
    yield _Sample("bpfcrypto_esp_sequence", labels, each.sequence)
    yield _Sample("bpfcrypto_esp_age_seconds", labels, round(each.age, 3))
    if each.last is not None:
        yield _Sample("bpfcrypto_esp_last_packet_age_seconds", labels, round(each.last, 3))


def _text(link: str, samples: list[_Sample]) -> str:
    """Samples in the text format, those of a family together."""
    lines: dict[str, list[str]] = {name: [] for name in FAMILIES}
    for sample in samples:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in {"link": link, **sample.labels}.items())
        lines[sample.family].append(f"{sample.family}{{{labels}}} {sample.value}\n")
    return "".join(
        f"# HELP {name} {FAMILIES[name][1]}\n# TYPE {name} {FAMILIES[name][0]}\n" + "".join(found)
        for name, found in lines.items()
        if found
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
